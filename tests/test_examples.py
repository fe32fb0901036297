"""Every Python block of the README and the pages is a program that runs as it stands, on both event loops."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)

BACKEND = """\
import anyio, functools
anyio.run = functools.partial(anyio.run, backend={backend!r})
"""


def examples() -> Iterator[object]:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for found in BLOCK.finditer(text):
            line = text.count("\n", 0, found.start()) + 2
            yield pytest.param(page, line, found[1], id=f"{page.name}:{line}")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize(("page", "line", "code"), list(examples()))
def test_an_example_runs_as_it_stands(page: Path, line: int, code: str, backend: str, tmp_path: Path) -> None:
    program = tmp_path / f"{page.stem}_{line}.py"
    program.write_text(BACKEND.format(backend=backend) + code, encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-W", "error", program],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )
    assert ended.returncode == 0, f"{page.name}, line {line}:\n{ended.stdout}{ended.stderr}"


def test_the_pages_have_examples() -> None:
    assert len(list(examples())) >= 5
