"""What the benchmarks install is what AnyQ asks for: a new dependency is pinned there too, within its bounds."""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


def test_the_benchmarks_pin_every_dependency_within_its_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "bench" / "requirements-anyq.txt").read_text().splitlines()
    pins = {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in (Requirement(line) for line in lines if not line.startswith("#"))
    }
    for line in (*project["dependencies"], *project["optional-dependencies"]["trio"]):
        asked = Requirement(line)
        name = canonicalize_name(asked.name)
        assert name in pins, f"{name} is missing"
        assert pins[name] in asked.specifier, f"{name} {pins[name]} is not {asked.specifier}"
        assert asked.extras <= pins.keys(), "an extra that is a package of its own (hiredis)"
