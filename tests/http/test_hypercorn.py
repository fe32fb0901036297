"""Beside an HTTP service: the programs of `docs/http.md`, served by a real hypercorn, and stopped in their work."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import anyio
import pytest
from tests.cli.programs import Program
from tests.support.servers import Server

from anyq import Queue

PAGE = Path(__file__).parent.parent.parent / "docs" / "http.md"
BLOCK = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

KEYS = Queue("reports").keys

#: Seconds that requests are given. Quart-Trio takes all of it when a client keeps its connection.
GRACEFUL = 3

#: Seconds within which a service stops whose jobs take one, in a process beside other tests.
STOPS_WITHIN = GRACEFUL + 12.0

pytestmark = pytest.mark.parametrize(
    ("app", "kind"),
    [("starlette_app", "asyncio"), ("starlette_app", "trio"), ("quart_app", "trio")],
    ids=["starlette on asyncio", "starlette on trio", "quart-trio"],
)


class Service:
    """One run of hypercorn."""

    def __init__(self, program: Program, port: int) -> None:
        self.program = program
        self.port = port

    def ask(self, method: str, path: str) -> tuple[int, Any]:
        """Make a request, and give the answer's status and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read()
            return answer.status, json.loads(
                body
            ) if answer.status != http.client.INTERNAL_SERVER_ERROR else body
        finally:
            connection.close()

    def post(self, path: str) -> tuple[int, Any]:
        return self.ask("POST", path)

    def stop(self) -> tuple[int, float]:
        """Ask it to stop, and give its exit code and how long it took."""
        began = time.monotonic()
        self.program.signal(signal.SIGTERM)
        return self.program.exit_code(), time.monotonic() - began


@pytest.fixture
def graceful() -> int:
    return GRACEFUL


@pytest.fixture
def service(app: str, kind: str, graceful: int, redis_url: str, tmp_path: Path) -> Generator[Service]:
    for name, code in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        (tmp_path / name).write_text(code, encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ["--bind", f"127.0.0.1:{port}", "--graceful-timeout", str(graceful), "-k", kind]
    with Program(*arguments, f"{app}:app", url=redis_url, module="hypercorn", folder=tmp_path) as program:
        program.until("Running on")
        try:
            yield Service(program, port)
        finally:
            # Its children would outlive a parent that is killed.
            if program.process.poll() is None:
                program.signal(signal.SIGTERM)
                program.exit_code()


def test_requests_enqueue_jobs_and_wait_for_them(service: Service) -> None:
    assert service.ask("GET", "/ready") == (200, {"problems": []})
    status, job = service.post("/reports/3")
    assert status == 202
    assert service.ask("GET", f"/results/{job['id']}") == (200, {"report": "a report of 3 pages"})
    assert service.post("/reports/2/now") == (200, {"report": "a report of 2 pages"})
    code, seconds = service.stop()
    assert code == 0
    assert seconds < STOPS_WITHIN


def test_sigterm_drains_the_server_and_then_the_worker_and_loses_nothing(
    service: Service, server: Server, redis_url: str
) -> None:
    with ThreadPoolExecutor(1) as threads, idle_connection(service.port):
        waiting = threads.submit(service.post, "/reports/100/now")
        until_at_work(server)
        jobs = [service.post("/reports/100")[1]["id"] for _ in range(5)]
        jobs += enqueue(redis_url, 400)  # of a second each, by fifty: more than it ends
        code, seconds = service.stop()
        assert waiting.result() == (200, {"report": "a report of 100 pages"})
    assert code == 0, service.program.output
    assert seconds < STOPS_WITHIN
    done = sum(server.command("EXISTS", KEYS.result(job)) for job in jobs)
    ready = sum(server.command("XLEN", lane) for lane in KEYS.lanes)
    assert 5 <= done < len(jobs)
    assert done + ready == len(jobs)
    assert consumers(server) == []


@pytest.mark.parametrize("graceful", [1])
def test_a_request_that_waits_for_too_long_is_cut_and_its_job_is_not(
    service: Service, server: Server
) -> None:
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(service.post, "/reports/250/now")
        until_at_work(server)
        code, _ = service.stop()
        cut = isinstance(waiting.exception(), http.client.HTTPException | OSError)
        assert cut or waiting.result()[0] == http.client.INTERNAL_SERVER_ERROR
    assert code == 0, service.program.output
    assert sum(server.command("XLEN", lane) for lane in KEYS.lanes) == 0
    events = cast(Any, server.command("XRANGE", KEYS.events, "-", "+"))
    assert sum("completed" in str(fields) for _, fields in events) == 1


def test_a_worker_that_crashed_is_not_ready(service: Service, server: Server, app: str, kind: str) -> None:
    server.command("SET", "stream", "somebody else's")
    server.command("RENAME", "stream", KEYS.stream)  # at once: the stream is gone, and the key is taken
    service.program.until("good-bye")  # to Redis, which the worker could not say: it has stopped
    if (app, kind) == ("starlette_app", "trio"):
        assert service.program.exit_code() == 0
        return
    status = 0
    problems: list[str] = []
    while problems != ["the worker is stopped"]:
        status, body = service.ask("GET", "/ready")
        problems = body["problems"]
        assert (status, bool(problems)) in {(503, True), (200, False)}
    assert status == 503


def idle_connection(port: int) -> socket.socket:
    """A client that keeps its connection for a request to come, as browsers do."""
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.recv(12) == b"HTTP/1.1 200"
    return connection


def until_at_work(server: Server) -> None:
    """Wait for the event that says that a job has begun."""
    client: Any
    with server.client() as client:
        assert client.xread({KEYS.events: "0"}, block=20_000)


def enqueue(url: str, count: int) -> list[str]:
    queue = Queue("reports", url)

    async def main() -> list[str]:
        async with queue:
            return [
                job.id for job in await queue.enqueue_many("render", [{"pages": 100}] * count, result_ttl=300)
            ]

    return anyio.run(main)


def consumers(server: Server) -> list[Any]:
    client: Any
    with server.client() as client:
        return [
            one
            for lane in KEYS.lanes
            if client.exists(lane)
            for one in client.xinfo_consumers(lane, "default")
        ]
