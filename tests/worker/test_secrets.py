"""Arguments and passwords are secret: no log line, no repr and no error of the engine shows them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import anyio
import msgpack
import pytest
from tests.support.servers import SECONDS, Server
from tests.worker.conftest import AT_ONCE, Notes, drained, envelope, put, until, working

from anyq import JobFailed, PayloadRefused, Queue, current_job
from anyq.metrics import MemorySink

pytestmark = pytest.mark.anyio

SECRET = "s3cr3t-value"


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)


async def test_whatever_becomes_of_a_job_its_arguments_are_in_no_log_and_no_repr(
    queue: Queue, notes: Notes[Any], caplog: pytest.LogCaptureFixture
) -> None:
    shown: list[str] = []

    @queue.task(attempts=2, backoff=AT_ONCE, timeout=0.05, result_ttl=60)
    async def act(how: str, password: str) -> Any:
        shown.append(repr(current_job()))
        if how == "fail":
            raise ValueError("without the argument")
        if how == "hang":
            await anyio.sleep_forever()
        if how == "strange":
            return object()
        return password

    @queue.task
    def plain(password: str) -> None:
        shown.append(repr(current_job()))

    sink = MemorySink()
    async with queue:
        shown.append(repr(act.bind("ok", SECRET)))
        for how in ("ok", "fail", "hang", "strange"):
            handle = await act.enqueue(how, SECRET)
            shown.append(repr(handle))
        await plain.enqueue(SECRET)
        await queue.enqueue("nobody", {"password": SECRET})
        await queue.enqueue("plain", {"pass": SECRET})
        await queue.enqueue("plain", [SECRET])
        await put(queue, "d", envelope({"password": SECRET})[:-1], "n", "plain")
        await put(queue, "d", msgpack.packb([SECRET, SECRET]), "n", "plain")
        await put(queue, "password", SECRET)
        await put(queue, "d", envelope(body=SECRET.encode()), "n", "plain")
        async with working(queue, metrics=sink, unknown_task_grace=0) as worker:
            await until(lambda: worker.statistics().done + worker.statistics().dead >= 12)
            shown += [repr(worker), repr(worker.statistics()), repr(worker.health()), repr(queue), repr(act)]
        events = await queue.redis.xrange(queue.keys.events)
    shown += [
        str(sink.observations),
        str(events),
        *(record.getMessage() for record in caplog.records),
        caplog.text,
    ]
    assert len(caplog.records) > 10
    assert not [text for text in shown if SECRET in text]


async def test_a_job_that_is_handed_back_is_not_shown(
    queue: Queue, notes: Notes[Any], caplog: pytest.LogCaptureFixture
) -> None:
    @queue.task
    async def wait(password: str) -> None:
        notes.add(1)
        await anyio.sleep_forever()

    async with queue:
        await wait.enqueue_many([(SECRET,)] * 5)
        async with working(queue, concurrency=1, drain_timeout=0):
            await notes.first(1)
    assert SECRET not in caplog.text


async def test_an_argument_that_is_refused_is_named_and_not_shown(queue: Queue) -> None:
    @queue.task
    async def act(password: Any, other: Any = None) -> None: ...

    class Secret:
        def __repr__(self) -> str:
            return SECRET

    async with queue:
        for wrong in (Secret(), {SECRET}, [SECRET, Secret()], {"a": {1: SECRET}}, SECRET + "\ud83d"):
            with pytest.raises(PayloadRefused) as refused:
                await act.enqueue(wrong)
            assert SECRET not in str(refused.value)
        with pytest.raises(PayloadRefused) as refused:
            await act.enqueue(SECRET * 200_000)
        assert SECRET not in str(refused.value)
        for arguments in ((), (SECRET,) * 3):
            with pytest.raises(TypeError) as misfit:
                await act.enqueue(*arguments)
            assert SECRET not in str(misfit.value)


async def test_a_failure_shows_what_the_handler_said_and_no_argument(queue: Queue) -> None:
    @queue.task(attempts=1)
    async def act(password: str) -> None:
        raise ValueError("it failed")

    async with queue, working(queue):
        with pytest.raises(JobFailed) as caught:
            await act.call(SECRET, timeout=SECONDS)
    error = caught.value
    assert SECRET not in f"{error} {error!r} {error.traceback} {error.message}"


async def test_a_password_of_the_url_is_in_no_log_and_no_repr(
    start_server: Callable[..., Server], notes: Notes[Any], caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server(password=SECRET)
    queue = Queue("work", server.url)

    @queue.task
    async def note() -> None:
        notes.add(1)

    async with queue:
        await note.enqueue()
        worker = await drained(queue)
        shown = [
            repr(queue),
            queue.url,
            repr(queue.redis),
            repr(worker),
            repr(queue.session),
            repr(queue.locate()),
        ]
    assert notes.made
    assert SECRET not in caplog.text
    assert not [text for text in shown if SECRET in text]
