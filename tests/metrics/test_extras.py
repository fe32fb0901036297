"""The extras are optional: without one, the part that needs it says so, and nothing else asks for it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("part", "missing", "extra"),
    [
        ("anyq.metrics.prometheus", "prometheus_client", "prometheus"),
        ("anyq.metrics.opentelemetry", "opentelemetry", "otel"),
        ("anyq.tracing", "opentelemetry", "otel"),
    ],
)
def test_a_part_whose_extra_is_not_installed_names_it(part: str, missing: str, extra: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; import {part}"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.stderr.splitlines()[-1] == (
        f"ModuleNotFoundError: {part} needs {missing}, which is not installed: pip install 'anyq[{extra}]'"
    )


#: Notes who imports what, for a library that we depend on may import what is installed.
LISTENER = """
import builtins
plain, asked = builtins.__import__, set()

def listen(name, globals=None, *rest):
    asked.add(((globals or {}).get("__name__", ""), name))
    return plain(name, globals, *rest)

builtins.__import__ = listen
import sys
import anyq
print(sorted((who, what) for who, what in asked
    if who.startswith("anyq") and what.partition(".")[0] in {"prometheus_client", "opentelemetry"}))
print(sorted({"prometheus_client", "anyq.tracing", "anyq.metrics.prometheus", "anyq.metrics.opentelemetry"}
    & set(sys.modules)))
print(("anyq", "worker") in asked)
"""


def test_importing_anyq_imports_neither_prometheus_nor_opentelemetry() -> None:
    run = subprocess.run([sys.executable, "-c", LISTENER], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["[]", "[]", "True"]


def test_anyq_works_where_no_extra_is_installed() -> None:
    program = (
        "import sys; sys.modules.update(dict.fromkeys(('prometheus_client', 'opentelemetry'))); "
        "import anyq; anyq.Worker(anyq.Queue('work'))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
