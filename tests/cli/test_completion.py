"""`anyq completion`: scripts that their shells can read, and that complete."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.cli.programs import Program

from anyq.cli.commands import anyq
from anyq.cli.completion import SHELLS


def script(shell: str) -> str:
    ran = CliRunner().invoke(anyq, ["completion", shell])
    assert ran.exit_code == 0
    return ran.stdout


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_can_read_its_script(shell: str, tmp_path: Path) -> None:
    text = script(shell)
    assert "_ANYQ_COMPLETE" in text
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    path.write_text(text)
    read = subprocess.run([shell, "-n", path], capture_output=True, text=True, check=False)
    assert (read.returncode, read.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    program = tmp_path / "anyq"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m anyq "$@"\n')
    program.chmod(0o755)
    asked = "\n".join(
        f'COMPREPLY=(); COMP_WORDS=({words}); COMP_CWORD={count}; _anyq_completion anyq; echo "${{COMPREPLY[@]}}"'
        for words, count in (("anyq sched", 1), ("anyq schedules --h", 2), ("anyq schedules pa", 2))
    )
    ran = subprocess.run(
        ["bash", "--norc", "-c", f"{script('bash')}\n{asked}"],
        capture_output=True, text=True, check=False, env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert ran.stdout.splitlines() == ["schedules", "--help", "pause"], ran.stderr


def test_as_json_it_is_an_object_with_the_same_script() -> None:
    with Program("completion", "fish", "--json") as program:
        output = program.output
        assert program.exit_code() == 0
    assert output.isascii()
    found = json.loads(output)
    assert list(found) == ["shell", "script"]
    assert (found["shell"], found["script"]) == ("fish", script("fish").removesuffix("\n"))
