"""``anyq worker --health HOST:PORT``: what an orchestrator asks about a worker, answered over HTTP.

``/live``: the process turns, and its worker has not ended. ``/ready``: the worker is well and takes jobs. With
``--metrics``, ``/metrics``: the scrape for Prometheus. One request a connection, small, and soon over: nobody who asks,
and nobody who never ends to ask, slows the jobs down.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, MutableMapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import click
import h11
from anyio.abc import ByteStream, SocketAttribute

from .._redis.tasks import ungrouped
from ..worker import Worker

if TYPE_CHECKING:
    from ..metrics.prometheus import PrometheusSink

logger: logging.Logger = logging.getLogger("anyq.cli")

#: Seconds that one request may take in all, bytes that its head may have, and how many are answered at the same time.
_PATIENCE = 5.0
_HEAD = 16_384
_VISITORS = 32

_LARGEST_PORT = 65_535

_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"


class Unavailable(Exception):
    """The address cannot be had; the message says why."""


@attrs.frozen
class Place:
    """Where the endpoint listens.

    Attributes:
        host: The interface's address.
        port: The port; 0 lets the system choose.
    """

    host: str
    port: int

    def moved(self, by: int) -> Place:
        """Give the place some ports further; where the system chooses, it still does.

        Raises:
            click.UsageError: There is no such port.
        """
        if not self.port:
            return self
        if self.port + by > _LARGEST_PORT:
            raise click.UsageError(
                f"--health {self}: each process has a port of its own, and {by} more are too many"
            )
        return Place(self.host, self.port + by)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def place_of(_context: click.Context, _parameter: click.Parameter, value: str | None) -> Place | None:
    """Read ``HOST:PORT`` from the command line."""
    if value is None:
        return None
    host, colon, port = value.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    in_brackets = host == f"[{bare}]"
    if not colon or not bare or (":" in bare) != in_brackets:
        raise click.BadParameter(f"{value!r} is no HOST:PORT, such as 127.0.0.1:8080 or [::1]:8080")
    if not port.isascii() or not port.isdecimal() or int(port) > _LARGEST_PORT:
        raise click.BadParameter(
            f"{port!r} is no port: 1 to {_LARGEST_PORT}, or 0 to let the system choose one"
        )
    return Place(bare, int(port))


@attrs.frozen
class Answer:
    """What is sent back."""

    status: int
    body: bytes
    kind: str = _TEXT


class Endpoint:
    """Answers for one worker.

    Args:
        place: Where it listens.
        worker: The worker.
        metrics: What ``/metrics`` shows, if anything.
    """

    def __init__(self, place: Place, worker: Worker, metrics: PrometheusSink | None = None) -> None:
        self._place = place
        self._worker = worker
        self._metrics = metrics
        self._visitors = anyio.CapacityLimiter(_VISITORS)

    @asynccontextmanager
    async def served(self) -> AsyncGenerator[None]:
        """Answer inside of the block, which opens once somebody can ask.

        Raises:
            Unavailable: The address cannot be had.
        """
        try:
            listener = await anyio.create_tcp_listener(
                local_host=self._place.host, local_port=self._place.port
            )
        except OSError as error:
            raise Unavailable(f"--health {self._place}: {error.strerror or error}") from error
        async with listener:
            port = listener.extra(SocketAttribute.local_port)
            logger.info("the health endpoint is at http://%s", Place(self._place.host, port))
            with ungrouped():
                async with anyio.create_task_group() as nursery:
                    nursery.start_soon(listener.serve, self._visit, name="anyq health")
                    yield
                    nursery.cancel_scope.cancel()

    async def _visit(self, stream: ByteStream) -> None:
        """One connection: its request, the answer, and good-bye."""
        try:
            with anyio.move_on_after(_PATIENCE):
                async with stream, self._visitors:
                    await self._talk(stream)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            pass  # whoever asked did not wait
        except Exception:
            logger.exception("the health endpoint could not answer")

    async def _talk(self, stream: ByteStream) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=_HEAD)
        head = False
        try:
            while not isinstance(event := connection.next_event(), h11.Request):
                if event is not h11.NEED_DATA:
                    return
                try:
                    connection.receive_data(await stream.receive(_HEAD))
                except anyio.EndOfStream:
                    connection.receive_data(b"")
            head = event.method == b"HEAD"
            answer = await self._answer(event)
        except h11.RemoteProtocolError as error:
            answer = Answer(error.error_status_hint, b"this is no HTTP\n")
        headers = [
            ("content-type", answer.kind),
            ("content-length", str(len(answer.body))),
            ("cache-control", "no-store"),
            ("connection", "close"),
        ]
        said = connection.send(h11.Response(status_code=answer.status, headers=headers)) or b""
        if not head:
            said += connection.send(h11.Data(data=answer.body)) or b""
        await stream.send(said)

    async def _answer(self, request: h11.Request) -> Answer:
        path = request.target.partition(b"?")[0]
        if request.method not in {b"GET", b"HEAD"}:
            return Answer(405, b"GET or HEAD\n")
        if path == b"/live":
            return self._live()
        if path == b"/ready":
            return self._ready()
        if path == b"/metrics" and self._metrics is not None:
            return await self._scrape(self._metrics, request)
        return Answer(404, b"there are /live, /ready and, with --metrics, /metrics\n")

    def _live(self) -> Answer:
        state = self._worker.health().state
        return _json(503 if state == "stopped" else 200, {"state": state})

    def _ready(self) -> Answer:
        health = self._worker.health()
        age = health.heartbeat_age
        return _json(
            200 if health.ok else 503,
            {
                "ok": health.ok,
                "state": health.state,
                "problems": health.problems,
                "heartbeat_age": round(age, 3) if age < float("inf") else None,
                "stuck": health.stuck,
            },
        )

    async def _scrape(self, metrics: PrometheusSink, request: h11.Request) -> Answer:
        """Ask the sink's application, in its own words."""
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        accepts = [(name, value) for name, value in request.headers if name == b"accept"]
        scope = {"type": "http", "method": "GET", "path": "/metrics", "query_string": b"", "headers": accepts}
        await metrics.app(scope, receive, send)
        start, *parts = sent
        kinds = [value.decode() for name, value in start["headers"] if name.lower() == b"content-type"]
        return Answer(start["status"], b"".join(part["body"] for part in parts), *kinds)


def _json(status: int, values: dict[str, Any]) -> Answer:
    return Answer(status, json.dumps(values).encode() + b"\n", _JSON)
