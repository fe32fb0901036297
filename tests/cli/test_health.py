"""`anyq worker --health`: what an orchestrator asks, and when the answer changes; in real processes, on both loops."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.cli.programs import BACKENDS, SECONDS, Program, enqueue, worker
from tests.support.servers import Server

ANYWHERE = ("--health", "127.0.0.1:0")

on_both = pytest.mark.parametrize("backend", BACKENDS)


def ports(program: Program, count: int = 1) -> list[int]:
    """Where the endpoints are, in the order in which they opened."""
    lines = program.until("the health endpoint is at", count)
    return [int(found[1]) for line in lines if (found := re.search(r":(\d+)$", line.strip()))]


def ask(port: int, path: str, method: str = "GET") -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers["content-type"], answer.read()
    finally:
        connection.close()


def ready(port: int) -> tuple[int, dict[str, Any]]:
    status, kind, body = ask(port, "/ready")
    assert kind == "application/json"
    return status, json.loads(body)


def until_ready(port: int, wanted: int) -> dict[str, Any]:
    """Ask until the status is this one."""
    ends = time.monotonic() + SECONDS
    while True:
        status, said = ready(port)
        if status == wanted:
            return said
        assert time.monotonic() < ends, f"it never answered {wanted}, but: {said}"


@on_both
def test_a_worker_is_ready_while_it_takes_jobs_and_live_until_it_ends(
    server: Server, redis_url: str, backend: str
) -> None:
    enqueue(redis_url, "short")
    with worker(redis_url, "--backend", backend, *ANYWHERE) as program:
        [port] = ports(program)
        program.until("begun short")
        said = until_ready(port, 200)
        assert said.pop("heartbeat_age") >= 0
        assert said == {"ok": True, "state": "running", "problems": [], "stuck": []}
        assert ask(port, "/live") == (200, "application/json", b'{"state": "running"}\n')
        program.signal(signal.SIGTERM)
        program.until("draining")
        status, said = ready(port)
        assert (status, said["ok"], said["problems"]) == (503, False, ["the worker is draining"])
        assert ask(port, "/live")[0] == 200, "to drain is no reason to be killed"
        server.command("RPUSH", "go", "1")
        assert program.exit_code() == 0


@on_both
def test_without_redis_a_worker_is_live_and_not_ready_and_ready_again_when_it_is_back(
    start_server: Callable[..., Server], backend: str
) -> None:
    server = start_server()
    with worker(server.url, "--backend", backend, "--lease", "1", *ANYWHERE) as program:
        [port] = ports(program)
        until_ready(port, 200)
        with server.paused():
            said = until_ready(port, 503)
            assert said["problems"]
            assert ask(port, "/live")[0] == 200, "a new process would not have Redis either"
        until_ready(port, 200)
        program.signal(signal.SIGTERM)
        assert program.exit_code() == 0


def test_whoever_asks_before_the_worker_is_ready_hears_so(start_server: Callable[..., Server]) -> None:
    server = start_server()
    with server.paused(), worker(server.url, *ANYWHERE) as program:
        [port] = ports(program)
        status, said = ready(port)
        assert (status, said["problems"], said["heartbeat_age"]) == (503, ["the worker is new"], None)
        assert ask(port, "/live")[0] == 200
        program.signal(signal.SIGTERM)
        assert program.exit_code() == 0


def test_what_is_no_question_is_answered_shortly_and_harms_nobody(redis_url: str) -> None:
    with worker(redis_url, *ANYWHERE) as program:
        [port] = ports(program)
        until_ready(port, 200)
        assert ask(port, "/")[0] == 404
        assert ask(port, "/metrics")[0] == 404
        assert ask(port, "/ready?verbose=1")[0] == 200
        assert ask(port, "/ready", "POST")[0] == 405
        assert ask(port, "/ready", "HEAD")[::2] == (200, b"")
        for nonsense, answer in [
            (b"\x16\x03\x01 hello\r\n\r\n", b"HTTP/1.1 400 "),
            (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + 20_000 * b"x", b"HTTP/1.1 431 "),
            (b"GET /live HTTP/1.1\r\n\r\n", b"HTTP/1.1 400 "),  # no Host
        ]:
            with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as visitor:
                visitor.sendall(nonsense)
                assert visitor.recv(13) == answer
        with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as silent:
            assert ready(port)[0] == 200
            socket.create_connection(("127.0.0.1", port), timeout=SECONDS).close()
            program.signal(signal.SIGTERM)
            assert program.exit_code() == 0, "a visitor who says nothing keeps nobody"
            assert silent.recv(1) == b""
        assert "could not answer" not in program.output


@on_both
def test_the_scrape_is_there_when_it_is_wanted(redis_url: str, backend: str) -> None:
    enqueue(redis_url, "long")
    with worker(redis_url, "--backend", backend, "--metrics", "--drain-timeout", "0", *ANYWHERE) as program:
        [port] = ports(program)
        program.until("begun long")
        status, kind, body = ask(port, "/metrics")
        assert (status, kind.partition(";")[0]) == (200, "text/plain")
        samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
        }
        assert samples["anyq_worker_jobs", "running"] == 1
        assert samples["anyq_worker_healthy",] == 1
        assert samples["anyq_queue_jobs", "cli", "held"] == 1
        assert samples["anyq_reader_batch_jobs_sum", "cli"] in {0, 1}  # told in batches, in a thread
        program.signal(signal.SIGTERM)
        assert program.exit_code() == 0


def test_each_process_has_a_port_of_its_own(redis_url: str) -> None:
    first = two_free_ports()
    with worker(redis_url, "--processes", "2", "--metrics", "--health", f"127.0.0.1:{first}") as program:
        assert sorted(ports(program, 2)) == [first, first + 1]
        until_ready(first, 200)
        until_ready(first + 1, 200)
        program.signal(signal.SIGTERM)
        assert program.exit_code() == 0


def two_free_ports() -> int:
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
            try:
                socket.create_server(("127.0.0.1", port + 1)).close()
            except OSError:
                continue
            return port


def test_an_address_that_cannot_be_had_is_told(redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        with worker(redis_url, "--health", place) as program:
            assert program.exit_code() == 2
            assert f"anyq: --health {place}: " in program.output
            assert "Traceback" not in program.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--health", "8080"], "is no HOST:PORT"),
        (["--health", ":8080"], "is no HOST:PORT"),
        (["--health", "::1:8080"], "is no HOST:PORT"),
        (["--health", "localhost:http"], "is no port"),
        (["--health", "localhost:70000"], "is no port"),
        (["--health", "localhost:65535", "--processes", "2"], "too many"),
        (["--metrics"], "--health"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_refused(arguments: list[str], words: str) -> None:
    with worker("embedded:///nowhere", *arguments) as program:
        assert program.exit_code() == 2
        assert words in program.output
