"""What the command line says to wrong words, and to wrong installations: a sentence, and never a traceback of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from tests.cli.programs import HERE, Program, worker
from tests.support.servers import Server

from anyq.cli.commands import anyq
from anyq.cli.finding import find_queue


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("jobs", r"'jobs' names no queue: write MODULE:QUEUE.*\(it has jobs:queue, jobs:other\)"),
        ("jobs:nothing", r"module 'jobs' has no 'nothing' \(it has jobs:queue, jobs:other\)"),
        ("jobs:short", r"'jobs:short' is a task: name its queue"),
        ("jobs:number", r"'jobs:number' is of type int, and not a Queue"),
        ("jobs:", r"'jobs:' is not of the form MODULE:QUEUE, such as myapp.jobs:queue"),
        (":queue", r"':queue' is not of the form"),
        ("jobs.py:queue", r"'jobs.py:queue' is not of the form"),
        ("tests/cli/jobs:queue", r"is not of the form"),
        ("nowhere:queue", r"there is no module 'nowhere' in .* or on Python's path"),
        ("nowhere.at.all:queue", r"there is no module 'nowhere'"),
        ("jobs.inner:queue", r"there is no module 'jobs.inner'"),
    ],
)
def test_a_wrong_target_is_answered_with_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, target: str, answer: str
) -> None:
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.delitem(sys.modules, "jobs", raising=False)
    with pytest.raises(click.BadParameter, match=answer):
        find_queue(target)
    monkeypatch.delitem(sys.modules, "jobs", raising=False)


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (["worker"], "Missing argument"),
        (["worker", "nowhere:queue"], "there is no module 'nowhere'"),
        (["worker", "jobs:queue", "--concurrency", "0"], "--concurrency"),
        (["worker", "jobs:queue", "--lease", "0.5"], "lease must be at least 1 second"),
        (["worker", "jobs:queue", "--url", "http://localhost"], "begins with redis://"),
        (["worker", "jobs:queue", "--url", "embedded://", "--processes", "2"], "embedded:///var/lib/anyq"),
        (["demo", "no-such-folder"], "does not exist"),
        (["demo", "--url", "http://localhost"], "begins with redis://"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_command_line_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], answer: str
) -> None:
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.delitem(sys.modules, "jobs", raising=False)
    run = CliRunner().invoke(anyq, arguments)
    monkeypatch.delitem(sys.modules, "jobs", raising=False)
    assert run.exit_code == 2
    assert answer in " ".join(run.output.split())


def test_a_wrong_command_line_is_no_traceback() -> None:
    with Program("worker", "nowhere:queue") as program:
        assert program.exit_code() == 2
        assert program.output.startswith("Usage: ")
        assert "Traceback" not in program.output


@pytest.mark.parametrize("processes", ["1", "2"])
def test_an_error_inside_the_module_is_the_module_s_own(tmp_path: Path, processes: str) -> None:
    (tmp_path / "broken.py").write_text("import a_library_that_is_not_there\n")
    run = subprocess.run(
        [sys.executable, "-m", "anyq", "worker", "broken:queue", "--processes", processes],
        cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 1
    assert "No module named 'a_library_that_is_not_there'" in run.stderr
    first, place, *_ = run.stderr.splitlines()
    assert first == "Traceback (most recent call last):"
    assert "broken.py" in place, "the way to the module says nothing"


def test_a_refused_password_is_a_sentence_and_1(start_server: Callable[..., Server]) -> None:
    server = start_server(password="secret")
    with worker(f"unix://:wrong-word@{server.socket}") as program:
        assert program.exit_code() == 1
        assert "WRONGPASS" in program.output
        assert "Traceback" not in program.output
        assert "wrong-word" not in program.output


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_core_only_installation_is_told_what_to_install(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from anyq.cli import main; main()"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr == (
        f"anyq: the command line needs {missing}, which is not installed: pip install 'anyq[cli]'\n"
    )


def test_a_backend_that_is_not_installed_is_told_how_to_get() -> None:
    program = (
        "import sys; sys.modules['trio'] = None; sys.argv = ['anyq', 'demo', '--backend', 'trio']; "
        "from anyq.cli import main; main()"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "pip install 'anyq[trio]'" in run.stderr


def test_it_says_its_version() -> None:
    with Program("--version") as program:
        assert program.exit_code() == 0
        assert program.output.startswith("anyq ")


def test_shells_complete_it() -> None:
    program = "import sys; sys.argv = ['anyq']; from anyq.cli import main; main()"
    asked = {"_ANYQ_COMPLETE": "bash_complete", "COMP_WORDS": "anyq stat", "COMP_CWORD": "1"}
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "plain,status\n"


def test_importing_anyq_needs_neither_click_nor_rich() -> None:
    program = "import sys; import anyq; print(sorted({'click', 'rich'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_a_look_in_a_pipe_imports_neither_what_draws_nor_what_works(redis_url: str) -> None:
    """Starting Python is most of what `anyq status` takes, and scripts look often."""
    program = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules)); "
        f"sys.argv = ['anyq', 'status', '-q', 'cli', '--json', '--url', {redis_url!r}]; "
        "from anyq.cli import main; main()"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = run.stdout.splitlines()[-1].split()
    assert "anyq.cli.status" in loaded
    assert not {"rich", "h11", "anyq.cli.worker", "anyq.cli.demo", "anyq.cli.watch", "trio"} & set(loaded)


@pytest.mark.parametrize("group", [[], ["dlq"], ["job"], ["schedules"]])
def test_the_help_says_of_each_command_what_it_does_in_a_whole_line(group: list[str]) -> None:
    said = CliRunner().invoke(anyq, [*group, "--help"], terminal_width=80).output
    lines = said.partition("Commands:\n")[2].splitlines()
    assert len(lines) >= 5
    for line in lines:
        assert line.endswith("."), line
        assert not line.endswith("..."), line
