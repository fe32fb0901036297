"""The checks around every test have teeth: what leaks fails the test that made it, and so does a loop's misuse."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
from anyio import to_thread
from tests.support.inner import outside_of_pytest
from tests.support.loops import LOOPS

ROOT = Path(__file__).parents[2]

LEAKY = """
import asyncio, redis, socket, subprocess, threading
import anyio.to_thread, pytest, trio
from tests.support import leaks
from tests.support.servers import Server

leaks.GRACE = 0.2
kept = []

def test_socket():
    kept.append(socket.socket())

def test_garbage():
    ring = [socket.socket()]
    ring.append(ring)

def test_thread():
    threading.Thread(target=threading.Event().wait, args=(1,)).start()

def test_process():
    kept.append(subprocess.Popen(["sleep", "1"]))

def test_zombie():
    kept.append(subprocess.Popen(["true"]))

def test_server(server_program):
    Server(program=server_program).start()

def test_connection(redis_url):
    kept.append(redis.Redis.from_url(redis_url))
    kept[-1].ping()

@pytest.mark.anyio
async def test_task(anyio_backend_name):
    if anyio_backend_name == "asyncio":
        kept.append(asyncio.create_task(asyncio.sleep(5)))
    else:
        trio.lowlevel.spawn_system_task(trio.sleep, 5)

@pytest.mark.anyio
async def test_clean(redis_url):
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, int)
    subprocess.run(["true"])
    with redis.Redis.from_url(redis_url) as client:
        client.ping()
"""

CAUGHT = {
    "test_socket": "sockets left open",
    "test_garbage": "Exception ignored in: <socket.socket",
    "test_thread": "thread left running",
    "test_process": "child processes left running",
    "test_zombie": "(zombie)",
    "test_server": "servers left running",
    # two errors: the server still sees a client, and this process has a socket
    "test_connection": "errors while tearing down",
    "test_task[asyncio]": "tasks left running",
    "test_task[trio]": "1 tasks left running",
}


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Each leaky test that the suite's own conftest and settings called an error, and why."""
    file = tmp_path_factory.mktemp("leaky") / "test_leaky.py"
    file.write_text(LEAKY)
    # As a conftest and not with -p: what AnyIO's own plugin says about loops must be overruled here as it is there.
    file.with_name("conftest.py").write_text("from tests.conftest import *")
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "--tb=no", "-p", "no:cacheprovider"]
    ended = subprocess.run(
        [*command, "-c", ROOT / "pyproject.toml", "--rootdir", ROOT, file],
        cwd=ROOT,
        env={**outside_of_pytest(), "COLUMNS": "1000"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "11 passed" in ended.stdout, ended.stdout + ended.stderr
    return dict(re.findall(r"^ERROR .*?::(\S+) - (.*)$", ended.stdout, re.MULTILINE))


@pytest.mark.parametrize("name", CAUGHT)
def test_a_leak_fails_the_test_that_made_it(name: str, errors: dict[str, str]) -> None:
    assert CAUGHT[name] in errors[name]


def test_a_test_that_cleans_up_passes(errors: dict[str, str]) -> None:
    assert errors.keys() == CAUGHT.keys()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [pytest.param(LOOPS["asyncio"], id="asyncio")])
async def test_a_loop_is_not_for_other_threads() -> None:
    """Trio sees to that itself."""
    loop = asyncio.get_running_loop()
    with pytest.raises(RuntimeError, match="thread"):
        await to_thread.run_sync(lambda: loop.call_soon(int))
    with pytest.raises(RuntimeError, match="thread"):
        await to_thread.run_sync(lambda: loop.call_later(1, int))
