"""What every test may ask for: a real server, a clean state of it, both event loops; and nothing may be left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
from tests.support.leaks import no_process_leaks, no_socket_leaks, no_thread_leaks
from tests.support.leaks import (
    no_task_is_left_behind as no_task_is_left_behind,
)  # a fixture, found by its name here
from tests.support.loops import DEFAULT, LOOPS
from tests.support.servers import Server

from anyq.embedded import find_program


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--server",
        action="append",
        default=[],
        metavar="PATH",
        help="run against this server program (repeatable); without it the one that embedded:// would use",
    )
    parser.addoption(
        "--loop",
        action="append",
        default=[],
        choices=sorted(LOOPS),
        help=f"run on this event loop (repeatable); without it on {' and '.join(DEFAULT)}",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "anyio_backend" in metafunc.fixturenames and not _chooses_its_loop(metafunc):
        loops = metafunc.config.getoption("--loop") or DEFAULT
        metafunc.parametrize("anyio_backend", [LOOPS[loop] for loop in loops], ids=loops, indirect=True)
    programs = metafunc.config.getoption("--server")
    if programs and "server_program" in metafunc.fixturenames:
        metafunc.parametrize(
            "server_program",
            programs,
            ids=[Path(program).name for program in programs],
            indirect=True,
            scope="session",
        )


def _chooses_its_loop(metafunc: pytest.Metafunc) -> bool:
    return any("anyio_backend" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Every test marked anyio runs on each of ``--loop``, every time in a loop of its own."""
    return request.param


@pytest.fixture(scope="session")
def server_program(request: pytest.FixtureRequest) -> Path:
    """The server program under test: each ``--server`` in turn."""
    wanted = getattr(request, "param", None)
    if wanted is None:
        return find_program()
    found = shutil.which(wanted)
    if found is None:
        raise pytest.UsageError(f"--server {wanted}: no such program")
    return Path(found).absolute()


@pytest.fixture(scope="session")
def server(server_program: Path) -> Generator[Server]:
    """A running server for all tests of this process. Who kills, pauses or reconfigures one asks `start_server`."""
    with Server(program=server_program) as running:
        yield running


@pytest.fixture
def redis_url(server: Server) -> Generator[str]:
    """The URL of an empty server; afterwards no connection to it may be open.

    Flushing costs less than a millisecond, and is safe beside other pytest processes: each has its own server.
    """
    server.flush()
    yield server.url
    left = server.clients()
    for _ in range(1000):  # a closed socket reaches the server a turn of its loop later
        if not left:
            return
        left = server.clients()
    server.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    pytest.fail(f"connections left open: {[(row['name'], row['cmd'], row['age']) for row in left]}")


@pytest.fixture
def start_server(server_program: Path) -> Generator[Callable[..., Server]]:
    """Start servers of one's own: ``start_server(aof=True, tcp=True)``, with the options of `Server`."""
    started: list[Server] = []

    def start(**options: Any) -> Server:
        server = Server(**{"program": server_program, **options})
        started.append(server)
        return server.start()

    yield start
    for server in reversed(started):
        server.stop()


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Generator[None]:
    """A thread, process or socket that a test started and did not end fails it."""
    with no_thread_leaks(), no_process_leaks(), no_socket_leaks():
        yield


@pytest.fixture(autouse=True)
def no_task_outlives_the_test(request: pytest.FixtureRequest, nothing_is_left_behind: None) -> None:
    """Nor a task. A fixture after the other, so that the loop is closed when sockets and threads are counted."""
    if "anyio_backend" in request.fixturenames:
        request.getfixturevalue("no_task_is_left_behind")
