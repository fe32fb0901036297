"""The pages for operators: every command in their console blocks runs as it stands, in its order, on a real server.

A line that begins with ``$`` is a command, what follows it is what it says (``...`` stands for anything, and digits for
any digits). Commands run in this process, for starting one takes a second; what ends with ``&`` has a process. What is
said to be known from some version on (``# from Redis 7.2``) may be refused before it.
"""

from __future__ import annotations

import re
import shlex
import signal
import sys
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NoReturn

import attrs
import pytest
from click.testing import CliRunner
from redis.exceptions import ResponseError
from tests.cli.programs import Program
from tests.support.servers import HOST, Server, free_port

from anyq.cli.commands import anyq

PAGES = Path(__file__).parent.parent / "docs" / "operating"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SCENE = re.compile(r"^```python\n# (\S+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

#: What an operator is asked to do: each has its page.
TASKS = {"deploy", "scale", "drain", "upgrade", "mend", "watch", "secure"}


@attrs.define
class Step:
    """A command, and what it says."""

    line: int
    command: str
    says: list[str] = attrs.field(factory=list[str])


def steps(page: Path) -> list[Step]:
    found: list[Step] = []
    text = page.read_text(encoding="utf-8")
    for block in BLOCK.finditer(text):
        first = text.count("\n", 0, block.start()) + 2
        for number, line in enumerate(block[1].splitlines(), first):
            if line.startswith("$ "):
                found.append(Step(number, line[2:]))
            else:
                found[-1].says.append(line)
    return found


def known_to(server: Server, command: str) -> bool:
    """Whether the page says that this server knows the command."""
    since = re.search(r"# from Redis (\d+)\.(\d+)(, and not on Valkey)?$", command)
    if since is None:
        return True
    kind, *version = server.version
    return since[3] is None if kind == "valkey" else version >= [int(since[1]), int(since[2])]


@attrs.define
class Operator:
    """Somebody who types what a page says."""

    server: Server
    folder: Path
    processes: ExitStack
    environment: dict[str, str]
    health: int = attrs.field(factory=free_port)
    started: list[Program] = attrs.field(factory=list[Program])

    def type(self, command: str) -> str:
        """Type a line, and give what it says."""
        here = command.replace("localhost:6379", f"{HOST}:{self.server.port}").replace(
            ":8080", f":{self.health}"
        )
        match shlex.split(here, comments=True):
            case ["anyq", *words, "&"]:
                self.start(*words)
                return ""
            case ["anyq", *words]:
                return self.run(*words)
            case ["redis-cli", *words]:
                answer = self.server.command(*words)
                return answer.decode() if isinstance(answer, bytes) else str(answer).replace("True", "OK")
            case ["curl", "-s", url]:
                with urllib.request.urlopen(url, timeout=30) as reply:
                    assert reply.status == 200
                    return str(reply.read().decode())
            case ["export", setting]:
                name, _, value = setting.partition("=")
                self.environment[name] = value
                return ""
            case ["kill", "-TERM", place]:
                self.process(place).signal(signal.SIGTERM)
                return ""
            case ["wait", place]:
                assert self.process(place).exit_code() == 0, self.process(place).output
                return ""
            case words:
                raise AssertionError(f"nobody knows how to run {words}")

    def run(self, *words: str) -> str:
        ran = CliRunner().invoke(anyq, words, env=self.environment)
        assert ran.exit_code == 0, f"exit code {ran.exit_code}: {ran.output}"
        return ran.stdout

    def start(self, *words: str) -> None:
        program = Program(*words, url=self.environment["ANYQ_URL"], folder=self.folder)
        self.started.append(self.processes.enter_context(program))
        program.until("running")

    def process(self, place: str) -> Program:
        return self.started[int(place.removeprefix("%")) - 1]


def said(wanted: str, output: str) -> bool:
    """Whether a line was said, whatever its digits and its spaces."""
    pattern = re.escape(" ".join(wanted.split())).replace(r"\.\.\.", ".*")
    pattern = re.sub(r"\d+", r"\\d+", pattern)
    return any(re.fullmatch(pattern, " ".join(line.split())) for line in output.splitlines())


@pytest.fixture
def operator(
    start_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Operator:
    name, program = scene()
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(program, encoding="utf-8")
    server = start_server(aof=True, tcp=True)

    def end(code: int) -> NoReturn:
        sys.exit(code)

    monkeypatch.setattr("anyq.cli.endings.end_now", end)  # it would end the tests, too
    return Operator(server, tmp_path, ExitStack(), {"ANYQ_URL": server.tcp_url})


def scene() -> tuple[str, str]:
    """The program that the pages operate."""
    found = SCENE.search((PAGES / "index.md").read_text(encoding="utf-8"))
    assert found is not None
    return found[1], found[2]


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.stem)
def test_the_commands_of_a_page_run_as_they_stand(page: Path, operator: Operator) -> None:
    with operator.processes:
        for step in steps(page):
            if not known_to(operator.server, step.command):
                with suppress(ResponseError):
                    operator.type(step.command)
                continue
            try:
                output = operator.type(step.command)
            except (AssertionError, OSError, ResponseError) as error:
                raise AssertionError(f"{page.name}, line {step.line}: {step.command}: {error}") from error
            for line in step.says:
                assert said(line, output), f"{page.name}, line {step.line}: no {line!r} in {output!r}"
        left = [program for program in operator.started if program.process.poll() is None]
        assert not left, "a page ends what it starts"


def test_each_task_of_an_operator_has_its_page_with_commands() -> None:
    assert {page.stem for page in PAGES.glob("*.md")} == TASKS | {"index"}
    assert all(len(steps(PAGES / f"{task}.md")) >= 5 for task in TASKS)
    index = (PAGES / "index.md").read_text(encoding="utf-8")
    assert all(f"({task}.md)" in index and f"\n{task}\n" in index for task in TASKS)
