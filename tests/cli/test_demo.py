"""`anyq demo`: the main job, from one end to the other, and the books that must balance."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cli.programs import BACKENDS, Program
from tests.support.servers import Server

from anyq.cli.demo.account import Account, Plan, percentile
from anyq.cli.demo.files import standard_library, text_files
from anyq.cli.demo.play import plan, play
from anyq.cli.demo.summary import counted
from anyq.cli.demo.tasks import Words

on_both = pytest.mark.parametrize("backend", BACKENDS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty-two texts, one of them with a name that is no UTF-8, and what must be passed over."""
    for number in range(41):
        (tmp_path / f"{number:02}.txt").write_text("spam ham spam\n" * (number + 1))
    Path(os.fsdecode(bytes(tmp_path / "99-") + b"\xff.txt")).write_text("spam ham spam\n" * 42)
    (tmp_path / "program.bin").write_bytes(b"\x7fELF\0\0")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("not ours")
    return tmp_path


@on_both
def test_every_job_is_accounted_for(folder: Path, backend: str) -> None:
    with Program("demo", str(folder), "--backend", backend, "-c", "10") as program:
        assert program.exit_code() == 0
        said = program.output
    assert said.startswith(f"42 text files under {folder}, on {backend}\n")
    assert "jobs ended" in said, "plain lines, for it is no terminal"
    assert "\x1b" not in said
    assert "1 dead, none unaccounted for" in said
    assert f"{folder}/not-there.txt: retries_exhausted, FileNotFoundError" in said
    assert "42 files" in said
    words = 42 * 43 // 2
    assert f"spam {2 * words:,}, ham {words}" in said
    for label in ("throughput", "start  p50", "in line  p50", "delayed  started p50", "retries  "):
        assert label in said


def test_as_json_it_is_an_object_and_how_far_it_is_stands_on_stderr(folder: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "anyq", "demo", str(folder), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0
    assert "jobs ended" in ran.stderr
    assert ran.stdout.isascii()
    found = json.loads(ran.stdout)
    assert list(found) == [
        "path", "backend", "files", "jobs", "done", "retried", "dead", "missing", "stopped_by", "files_per_second",
        "start", "in_line", "delayed", "read", "commonest",
    ]  # fmt: skip
    assert (found["path"], found["backend"], found["files"]) == (str(folder), "asyncio", 42)
    [dead] = found["dead"]
    assert list(dead) == ["job", "file", "reason", "error", "message"]
    assert (dead["file"], dead["error"]) == (f"{folder}/not-there.txt", "FileNotFoundError")
    assert found["done"] == found["jobs"] - 1
    assert (found["missing"], found["stopped_by"]) == ([], None)
    assert found["retried"] >= 2
    assert found["files_per_second"] > 0
    for times in ("start", "in_line", "delayed"):
        assert 0 < found[times]["p50"] <= found[times]["p99"]
    words = 42 * 43 // 2
    assert found["read"] == {"files": 42, "bytes": 14 * words, "words": 3 * words}
    assert found["commonest"] == [{"word": "spam", "count": 2 * words}, {"word": "ham", "count": words}]


def test_a_terminal_gets_a_bar_that_moves(folder: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "anyq", "demo", str(folder)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    ) as process:
        os.close(theirs)
        said = b""
        while piece := _read(ours):
            said += piece
        assert process.wait() == 0
    os.close(ours)
    assert b"\x1b[" in said
    assert "━".encode() in said
    assert b"none unaccounted for" in said


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux says so when the last writer is gone
        return b""


@on_both
def test_ctrl_c_in_the_middle_drains_and_tells_how_far_it_came(backend: str) -> None:
    with Program("demo", "--backend", backend) as program:
        program.until(" retried, ")
        program.signal(signal.SIGINT)
        assert program.exit_code() == 130
        assert "when SIGINT came" in program.output
        assert "Traceback" not in program.output


def test_a_real_server_is_left_as_it_was(server: Server, redis_url: str, folder: Path) -> None:
    with Program("demo", str(folder), "--url", redis_url, "--limit", "5") as program:
        assert program.exit_code() == 0
    assert server.command("KEYS", "*") == []


def test_a_folder_without_text_is_refused(tmp_path: Path) -> None:
    with Program("demo", str(tmp_path)) as program:
        assert program.exit_code() == 2
        assert "there is no text file under" in program.output


@pytest.mark.anyio
async def test_jobs_that_vanish_are_missing_in_the_books(
    server: Server, redis_url: str, folder: Path
) -> None:
    class Flush:
        """A display that loses the data when it first hears of a job."""

        done = False

        def update(self, account: Account) -> None:
            if account.plans and not self.done:
                self.done = True
                server.flush()

        def __enter__(self) -> Any: ...
        def __exit__(self, *_: object) -> None: ...

    plans = [Plan(str(file), delay=5) for file in text_files(folder)]
    account = await play(plans, url=redis_url, concurrency=10, display=Flush(), silence=1.0)
    assert account.missing == list(account.plans), "and nothing else is"
    assert account.stopped_by is None


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_words_are_counted_whole_wherever_their_text_is_cut(size: int) -> None:
    text = "Straße, Ärger; spam spam_spam 日本語 x 12 naïve".encode() + b"\xff broken " + b"long" * 100
    words = Words()
    for at in range(0, len(text), size):
        words.feed(text[at : at + size])
    words.feed(b"", final=True)
    assert words.count == {
        "straße": 1, "ärger": 1, "spam": 3, "日本語": 1, "naïve": 1, "broken": 1, "long" * 100: 1,
    }  # fmt: skip


def test_the_standard_library_is_over_a_thousand_files() -> None:
    assert len(text_files(standard_library())) > 1000


def test_text_files_are_found_in_a_fixed_order(folder: Path) -> None:
    found = text_files(folder)
    assert [file.name for file in found] == [
        *(f"{number:02}.txt" for number in range(41)),
        os.fsdecode(b"99-\xff.txt"),
    ]
    assert text_files(found[0]) == [found[0]]


def test_one_file_is_one_file_and_two_are_files() -> None:
    assert [counted(number, "file") for number in (1, 2, 2000)] == ["1 file", "2 files", "2,000 files"]


def test_each_small_folder_shows_a_retry_and_a_dead_letter(tmp_path: Path) -> None:
    first, last = plan([tmp_path / "a.txt"], tmp_path / "missing.txt")
    assert first.failures == 1
    assert last == Plan(str(tmp_path / "missing.txt"))


def test_a_percentile_is_a_value_that_was_measured() -> None:
    assert percentile([1.0], 0.99) == 1.0
    assert percentile(list(range(1, 101)), 0.5) == 51
    assert percentile(list(range(1, 101)), 0.99) == 100
