"""Plain functions in worker processes: they run there, are killed there, and nothing of them is left."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from tests.support.servers import SECONDS
from tests.worker import functions
from tests.worker.conftest import AT_ONCE, Notes, dead_letter, drained, until, working

from anyq import CallNext, Depends, Job, JobCancelled, JobFailed, ProcessDied, Queue, Task, Worker
from anyq._services.processes import Processes

pytestmark = pytest.mark.anyio


def in_process(queue: Queue, function: Callable[..., Any], **options: Any) -> Task[..., Any]:
    options = {"executor": "process", "result_ttl": 60, "attempts": 1, **options}
    return cast("Task[..., Any]", queue.task(function, **options))


async def number_in(path: Path) -> int:
    """The number that a process leaves in a file, once it has."""
    await until(path.exists)
    return int(await anyio.Path(path).read_text())


async def gone(pid: int) -> None:
    """Wait until a process has ended."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with anyio.fail_after(SECONDS):
            await anyio.wait_readable(descriptor)
    finally:
        os.close(descriptor)


# -- how a function may be written, and what it sees ------------------------------------------------------------------


async def test_functions_run_in_processes_of_their_own_which_serve_again(queue: Queue) -> None:
    pid = in_process(queue, functions.pid)
    async with queue, working(queue, processes=1):
        first, second = await pid.call(), await pid.call()
    assert first == second
    assert first != os.getpid()


async def test_every_kind_of_parameter_and_place_of_a_function(queue: Queue) -> None:
    add = in_process(queue, functions.add)
    made = in_process(queue, functions.made.function, name="made")
    decorated = in_process(queue, functions.decorated.function)
    inside = in_process(queue, functions.Namespace.inside)
    async with queue, working(queue, processes=1):
        assert await add.call(1, 2, c=3) == 6
        assert await made.call(1) == 1
        assert await decorated.call("word") == "WORD"
        assert await inside.call() == "inside"


async def test_a_function_sees_its_job_and_what_it_prints_goes_where_the_worker_s_output_goes(
    queue: Queue, capfd: pytest.CaptureFixture[str]
) -> None:
    about = in_process(queue, functions.about, timeout=60, attempts=3)
    async with queue, working(queue):
        handle = await about.enqueue()
        assert await handle.result() == [handle.id, "about", 1, 3, "work", {}, True]
    assert "said in a process\n" in capfd.readouterr().out


async def test_a_process_inherits_no_connection_of_the_worker(queue: Queue) -> None:
    sockets = in_process(queue, functions.sockets)
    async with queue, working(queue):
        found = await sockets.call()
    assert not [peer for peer in found if "redis" in peer], found


async def test_what_a_function_tells_about_its_job_is_kept_with_it(queue: Queue) -> None:
    tell = in_process(queue, functions.tell)
    async with queue, working(queue):
        handle = await tell.enqueue()
        await handle.result()
        progress, lines = await handle.progress(), await handle.log()
    assert progress is not None
    assert (progress.current, progress.total) == (2, 2)
    assert [line.text for line in lines] == ["first", "second"]


async def test_middleware_is_around_functions_in_processes_too(queue: Queue) -> None:
    @queue.middleware
    async def more(job: Job, call_next: CallNext) -> Any:
        return await call_next({**job.payload, "b": 10}) + 100

    add = in_process(queue, functions.add)
    async with queue, working(queue):
        assert await add.call(1) == 111


async def test_no_more_processes_are_started_than_the_worker_allows(queue: Queue, tmp_path: Path) -> None:
    note = in_process(queue, functions.note)
    go = tmp_path / "go"

    def begun() -> list[Path]:
        return list(tmp_path.glob("[0-9]"))

    async with queue, working(queue, processes=2) as worker:
        handles = [await note.enqueue(str(tmp_path / str(number)), str(go)) for number in range(4)]
        await until(lambda: worker.statistics().running == 4)
        await until(lambda: len(begun()) >= 2)
        assert len(begun()) == 2
        go.touch()
        pids = {await handle.result() for handle in handles}
    assert len(pids) == 2


# -- what it raises ---------------------------------------------------------------------------------------------------


async def test_what_a_function_raises_is_the_job_s_failure_with_its_traceback(queue: Queue) -> None:
    fail = in_process(queue, functions.fail)
    async with queue, working(queue, processes=1):
        for what, reason, error, message in (
            ("value", "retries_exhausted", "ValueError", "wrong"),
            ("odd", "retries_exhausted", "Odd", "('odd 7',)"),
            ("local", "retries_exhausted", "Local", "('from here',)"),
            ("unrecoverable", "unrecoverable", "Unrecoverable", "never"),
        ):
            with pytest.raises(JobFailed) as failed:
                await fail.call(what)
            assert (failed.value.reason, failed.value.type) == (reason, error)
            assert message in failed.value.message
            assert "raise errors[what]" in failed.value.traceback
            assert "child.py" not in failed.value.traceback


async def test_retry_later_and_an_exit_mean_in_a_process_what_they_mean_elsewhere(queue: Queue) -> None:
    fail, leave = in_process(queue, functions.fail), in_process(queue, functions.leave)
    async with queue:
        await fail.enqueue("later")
        await leave.enqueue()
        await drained(queue, processes=1)
        assert await queue.redis.zcard(queue.keys.delayed) == 1
        letter = await dead_letter(queue)
    assert letter["error"] == b"SystemExit"


async def test_what_cannot_be_pickled_says_so(queue: Queue) -> None:
    async def spoil(job: Job, call_next: CallNext) -> Any:
        return await call_next({"a": functions.LOCK})

    unpicklable = in_process(queue, functions.unpicklable)
    add = in_process(queue, functions.add, middleware=[spoil])
    async with queue, working(queue):
        with pytest.raises(JobFailed, match="the result cannot be brought here from its process") as failed:
            await unpicklable.call()
        assert failed.value.reason == "bad_result"
        with pytest.raises(JobFailed, match="'add' runs in a process, and its arguments cannot be pickled"):
            await add.call(1)


# -- processes that die -----------------------------------------------------------------------------------------------


async def test_a_process_that_dies_fails_the_run_and_nothing_else(queue: Queue) -> None:
    names = ("segfault", "end", "kill", "fork_and_die")
    deaths = {name: in_process(queue, getattr(functions, name)) for name in names}
    add = in_process(queue, functions.add)
    async with queue, working(queue, processes=1):
        assert await add.call(1) == 1
        for name, arguments, says in (
            ("segfault", (), "killed by SIGSEGV"),
            ("end", (0,), "it ended by itself, with exit code 0"),
            ("end", (7,), "exit code 7"),
            ("kill", (), "killed by SIGKILL, perhaps for want of memory"),
            ("fork_and_die", (), "exit code 3"),
        ):
            with pytest.raises(JobFailed, match=re.escape(says)) as failed:
                await deaths[name].call(*arguments)
            assert failed.value.type == "ProcessDied"
        assert await add.call(2) == 2


async def test_a_run_that_died_is_tried_again(queue: Queue) -> None:
    task = in_process(queue, functions.end, attempts=2, backoff=AT_ONCE)
    async with queue, working(queue) as worker:
        with pytest.raises(JobFailed, match="exit code 7"):
            await task.call(7)
        assert worker.statistics().failed == 2


async def test_a_process_that_died_idle_is_replaced_at_no_job_s_cost(queue: Queue) -> None:
    pid = in_process(queue, functions.pid)
    async with queue, working(queue, processes=1) as worker:
        first = await pid.call()
        os.kill(first, signal.SIGKILL)
        assert await pid.call() != first
        assert worker.statistics().failed == 0


async def test_a_process_that_died_idle_is_put_away_though_nobody_needs_it(queue: Queue) -> None:
    """A zombie has ended, and is still in the table of processes."""
    pid = in_process(queue, functions.pid)
    async with queue, working(queue):
        number = await pid.call()
        os.kill(number, signal.SIGKILL)
        await until(lambda: not Path(f"/proc/{number}").exists())


def test_the_error_of_a_dead_process_says_what_is_known() -> None:
    assert "exit code is not known" in str(ProcessDied("id", "task", None))
    assert "killed by signal 99" in str(ProcessDied("id", "task", -99))


# -- processes that are killed ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [functions.hold, functions.with_child])
async def test_a_run_past_its_timeout_is_killed_with_all_that_it_started(
    queue: Queue, tmp_path: Path, function: Callable[..., Any]
) -> None:
    task = in_process(queue, function, timeout=0.8)
    async with queue, working(queue, processes=1):
        with pytest.raises(JobFailed, match=re.escape("longer than its timeout of 0.8 s")) as failed:
            await task.call(str(tmp_path / "pid"))
        assert failed.value.type == "TimedOut"
        await gone(await number_in(tmp_path / "pid"))


async def test_the_start_of_a_process_and_the_wait_for_one_do_not_count_as_the_run(
    queue: Queue, tmp_path: Path
) -> None:
    note = in_process(queue, functions.note)
    pid = in_process(queue, functions.pid, timeout=0.8)
    go = tmp_path / "go"
    async with queue, working(queue, processes=1) as worker:
        await note.enqueue(str(tmp_path / "pid"), str(go))
        await number_in(tmp_path / "pid")
        handle = await pid.enqueue()
        await until(lambda: worker.statistics().running == 2)
        with anyio.move_on_after(1):  # longer than a run may take
            await anyio.sleep_forever()
        go.touch()
        assert await handle.result()


async def test_a_cancelled_job_s_process_is_killed(queue: Queue, tmp_path: Path) -> None:
    hold = in_process(queue, functions.hold)
    async with queue, working(queue) as worker:
        handle = await hold.enqueue(str(tmp_path / "pid"))
        pid = await number_in(tmp_path / "pid")
        assert await handle.cancel(wait=True)
        await gone(pid)
        with pytest.raises(JobCancelled):
            await handle.result(timeout=SECONDS)
        assert worker.statistics().failed == 0


async def test_a_run_at_the_end_of_the_drain_is_killed_and_handed_back(queue: Queue, tmp_path: Path) -> None:
    hold = in_process(queue, functions.hold)
    async with queue:
        await hold.enqueue(str(tmp_path / "pid"))
        async with working(queue, drain_timeout=0) as worker:
            pid = await number_in(tmp_path / "pid")
        await gone(pid)
        assert await queue.redis.xlen(queue.keys.returned) == 1
    assert worker.left_nothing


async def test_a_worker_that_leaves_lets_idle_processes_end_by_themselves(queue: Queue) -> None:
    pid = in_process(queue, functions.pid)
    async with queue, working(queue, processes=2):
        known = await pid.call()
    await gone(known)


async def test_cancelling_a_run_kills_its_process_before_it_returns(tmp_path: Path) -> None:
    processes = Processes(1)
    job = Job("q", "id", "hold", 1, 0, Any, None, b"\x80", b"", b"", 0)  # type: ignore[arg-type]
    path = tmp_path / "pid"

    async def run() -> None:
        await processes.run(functions.hold, job, [str(path)], {}, None, lambda: None)

    pid = 0
    async with anyio.create_task_group() as nursery:
        nursery.start_soon(run)
        pid = await number_in(path)
        nursery.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize("task", ["note", "hold"])
async def test_no_process_outlives_a_worker_that_is_killed(
    queue: Queue, redis_url: str, tmp_path: Path, task: str, anyio_backend_name: str
) -> None:
    killed = Queue("killed", redis_url)
    arguments = {"path": str(tmp_path / "pid")} | ({"go": str(tmp_path / "never")} if task == "note" else {})
    program = [sys.executable, functions.__file__, anyio_backend_name, redis_url]
    async with killed, await anyio.open_process(program, stdin=None, stdout=None, stderr=None) as worker:
        await killed.enqueue(task, arguments)
        pid = await number_in(tmp_path / "pid")
        worker.kill()
        await gone(pid)


# -- mistakes ---------------------------------------------------------------------------------------------------------


def test_a_function_that_a_process_cannot_import_is_refused() -> None:
    queue = Queue("work")

    def local() -> None: ...

    async def coroutine() -> None: ...

    for function in (local, lambda: None, Notes[Any]().add):
        with pytest.raises(TypeError, match="must be a function on the top level of a module"):
            queue.task(function, name="task", executor="process")
    with pytest.raises(TypeError, match="executor= is for plain functions"):
        queue.task(coroutine, executor="process")
    with pytest.raises(TypeError, match="threads= is for threads"):
        queue.task(functions.pid, executor="process", threads=2)
    with pytest.raises(ValueError, match='executor must be "thread" or "process"'):
        queue.task(functions.pid, executor="fork")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="nothing fills Depends"):
        queue.task(needing, executor="process")
    with pytest.raises(ValueError, match="processes must be >= 1"):
        Worker(queue, processes=0)
    queue.task(local, executor="thread")


def needing(what: Queue = Depends()) -> None: ...


PROGRAM = """
import anyio, sys
from anyq import JobFailed, Queue, Worker

queue = Queue("main", sys.argv[1])

@queue.task(executor="process", result_ttl=60, attempts=1)
def double(number):
    return number * 2

async def main():
    async with queue, Worker(queue):
        try:
            print(await double.call(21))
        except JobFailed as error:
            print(error)

{guard}
    anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.parametrize(
    ("guard", "says"),
    [
        ('if __name__ == "__main__":', "42\n"),
        ("if True:", "is opened while a worker's process imports the main program"),
    ],
)
async def test_functions_of_the_main_program_run_if_it_is_guarded(
    redis_url: str, tmp_path: Path, guard: str, says: str, anyio_backend_name: str
) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(guard=guard))
    ended = await anyio.run_process([sys.executable, str(program), redis_url, anyio_backend_name])
    assert says in ended.stdout.decode()
