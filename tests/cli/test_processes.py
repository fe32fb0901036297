"""`anyq worker --processes N`: children are replaced, drain together, and never outlive their supervisor for long."""

from __future__ import annotations

import os
import re
import select
import signal

from tests.cli.programs import SECONDS, Program, enqueue, left_behind, ready, worker
from tests.support.servers import Server

SIGTERM, SIGKILL = signal.SIGTERM, signal.SIGKILL


def children(program: Program, count: int) -> list[int]:
    """The process ids of children that are ready, the newest last."""
    return [
        int(found[1])
        for line in program.until("is ready", count)
        if (found := re.search(r" (\d+) INFO", line))
    ]


def has_ended(pid: int) -> bool:
    """Wait for the end of a process that is nobody's child any more."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], SECONDS)[0])
    finally:
        os.close(descriptor)


def test_a_child_that_was_killed_is_replaced_and_one_signal_drains_all(
    server: Server, redis_url: str
) -> None:
    enqueue(redis_url, "short", "short")
    with worker(redis_url, "--processes", "2", "-c", "1", "--prefetch", "0") as program:
        first, _ = children(program, 2)
        program.until("begun short", 2)
        os.kill(first, SIGKILL)
        program.until("is replaced")
        children(program, 3)
        program.until("begun short", 3)  # what the dead one held, taken over
        program.until(
            "took over 1 jobs"
        )  # said when it is out of the group: who drains may leave that to others
        program.signal(SIGTERM)
        program.until("draining", 2)
        server.command("RPUSH", "go", "1", "1", "1")
        assert program.exit_code() == 0
    assert ready(server) == 0
    assert left_behind(server) == []


def test_the_second_signal_reaches_the_children_too(server: Server, redis_url: str) -> None:
    enqueue(redis_url, "long", "long")
    with worker(
        redis_url, "--processes", "2", "-c", "1", "--prefetch", "0", "--drain-timeout", "60"
    ) as program:
        program.until("begun long", 2)
        program.signal(SIGTERM)
        program.until("draining", 2)
        program.signal(SIGTERM)
        assert program.exit_code() == 0
    assert ready(server) == 2
    assert left_behind(server) == []


def test_a_signal_to_the_whole_group_counts_once(server: Server, redis_url: str) -> None:
    """As an init system does it, which signals every process of a service."""
    enqueue(redis_url, "short")
    with worker(redis_url, "--processes", "2") as program:
        pids = children(program, 2)
        program.until("begun short")
        for pid in (*pids, program.process.pid):
            os.kill(pid, SIGTERM)
        program.until("draining", 2)
        server.command("RPUSH", "go", "1")
        assert program.exit_code() == 0
    assert ready(server) == 0, "the job was not cut"


def test_children_drain_when_their_supervisor_is_killed(server: Server, redis_url: str) -> None:
    enqueue(redis_url, "short")
    with worker(redis_url, "--processes", "2") as program:
        pids = children(program, 2)
        program.until("begun short")
        program.signal(SIGKILL)
        program.until("draining", 2)
        server.command("RPUSH", "go", "1")
        assert all(has_ended(pid) for pid in pids)
    assert ready(server) == 0
    assert left_behind(server) == []


def test_the_worst_exit_code_of_the_children_counts(redis_url: str) -> None:
    [job] = enqueue(redis_url, "threaded")
    with worker(redis_url, "--processes", "2", "--drain-timeout", "0.2") as program:
        program.until("begun threaded")
        children(program, 2)
        program.signal(SIGTERM)
        assert program.exit_code() == 3
        assert job in program.output.partition("left behind")[2]


def test_a_supervised_child_takes_its_settings_from_the_supervisor(redis_url: str) -> None:
    with worker(redis_url, "--processes", "2", "--backend", "trio", "-c", "7", "--no-events") as program:
        assert all("concurrency 7" in line for line in program.until("is ready", 2))
        program.signal(SIGTERM)
        assert program.exit_code() == 0
