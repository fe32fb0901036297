"""`anyq worker` at its end: what the exit code says is so, whatever the handlers do."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import ExitStack
from itertools import product

import pytest
from tests.cli.programs import BACKENDS, Program, ended, enqueue, left_behind, ready, worker
from tests.support.servers import Server

SIGTERM, SIGINT = signal.SIGTERM, signal.SIGINT

on_both = pytest.mark.parametrize("backend", BACKENDS)


@on_both
@pytest.mark.parametrize("number", [SIGTERM, SIGINT], ids=lambda number: number.name)
def test_a_short_job_ends_before_the_process_does(
    server: Server, redis_url: str, backend: str, number: signal.Signals
) -> None:
    enqueue(redis_url, "short")
    with worker(redis_url, "--backend", backend) as program:
        program.until("begun short")
        program.signal(number)
        program.until("draining")
        server.command("RPUSH", "go", "1")
        assert program.exit_code() == 0
    assert ready(server) == 0
    assert left_behind(server) == []


@on_both
def test_a_long_job_is_cut_at_the_deadline_and_handed_back_with_those_not_begun(
    server: Server, redis_url: str, backend: str
) -> None:
    enqueue(redis_url, "long", "watchful", "short", "short", "short")
    with worker(redis_url, "--backend", backend, "-c", "2", "--drain-timeout", "0.2") as program:
        program.until("begun long")
        program.until("begun watchful")
        program.signal(SIGTERM)
        assert program.exit_code() == 0
    assert ready(server) == 4, (
        "a function that looks, and leaves, is done: it was not told to do anything else"
    )
    assert left_behind(server) == []


@on_both
def test_the_second_signal_stops_at_once(server: Server, redis_url: str, backend: str) -> None:
    enqueue(redis_url, "long")
    with worker(redis_url, "--backend", backend, "--drain-timeout", "60") as program:
        program.until("begun long")
        program.signal(SIGTERM)
        program.until("draining")
        program.signal(SIGINT)
        assert program.exit_code() == 0
    assert ready(server) == 1
    assert left_behind(server) == []


def test_what_ignores_its_cancellation_ends_with_the_process_and_is_listed(redis_url: str) -> None:
    """All at once, for each takes the whole grace: a coroutine, one that blocks the loop, a thread; on both."""
    with ExitStack() as stack:
        programs: list[tuple[str, Program]] = []
        for backend, kind in product(BACKENDS, ["stubborn", "blocking", "threaded"]):
            programs.append(at_work(stack, redis_url, kind, "--backend", backend, "--drain-timeout", "0.2"))
        impatient = at_work(stack, redis_url, "stubborn", "--drain-timeout", "60")
        impatient[1].signal(SIGTERM)
        impatient[1].until("draining")
        programs.append(impatient)
        for _, program in programs:
            program.signal(SIGTERM)
        assert ended(program for _, program in programs) < 0.2 + 5 + 3
        for job, program in programs:
            assert program.exit_code() == 3
            assert "1 job is left behind" in program.output
            assert job in program.output.partition("left behind")[2]


def test_a_drain_without_redis_ends_in_time_and_says_what_is_left(
    start_server: Callable[..., Server],
) -> None:
    """Both ways of being gone, on both backends, at work and idle, all at once: silent, and refusing."""
    silent, refusing = start_server(), start_server()
    with ExitStack() as stack:
        stack.callback(silent.resume)
        programs: list[tuple[str, Program]] = []
        for server, backend in product((silent, refusing), BACKENDS):
            programs.append(
                at_work(stack, server.url, "watchful", "--backend", backend, "--drain-timeout", "0.2")
            )
            idle = stack.enter_context(Program("worker", "jobs:other", "--backend", backend, url=server.url))
            idle.until("is ready")
            programs.append(("no job is left behind", idle))
        silent.pause()
        refusing.kill()
        for _, program in programs:
            program.signal(SIGTERM)
        assert ended(program for _, program in programs) < 0.2 + 5 + 3
        for words, program in programs:
            assert program.exit_code() == 3
            assert words in program.output[program.output.index("anyq: ") :]


@on_both
def test_a_signal_ends_a_worker_that_still_waits_for_redis(
    start_server: Callable[..., Server], backend: str
) -> None:
    server = start_server()
    with server.paused(), worker(server.url, "--backend", backend, "--log-level", "debug") as program:
        program.until("starts")
        program.signal(SIGTERM)
        assert program.exit_code() == 0


def at_work(stack: ExitStack, url: str, kind: str, *arguments: str) -> tuple[str, Program]:
    """A worker that has begun one job and takes no other: the job's id, and the process."""
    [job] = enqueue(url, kind)
    program = stack.enter_context(worker(url, "-c", "1", "--prefetch", "0", *arguments))
    program.until(f"begun {kind}")
    return job, program
