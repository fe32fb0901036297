"""The pytest plugin inside a project of a user, whichever way that runs its asynchronous tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.inner import outside_of_pytest

PROGRAM = """
from anyq import Queue

emails = Queue("emails", "redis://production.invalid")


@emails.task
async def welcome(to: str) -> str:
    return f"welcome, {to}"
"""

CONFTEST = """
import pytest
from program import emails


@pytest.fixture(autouse=True)
def queues_on_a_private_server(anyq_redirect):
    anyq_redirect(emails)
"""

TESTS = {
    "anyio": """
import pytest
from anyq.testing import drain
from program import emails, welcome

@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param

@pytest.mark.anyio
async def test_on_anyio():
    async with emails:
        await welcome.enqueue("ada")
    assert (await drain(emails)).done == 1
""",
    "trio": """
import pytest
from anyq.testing import run_worker
from program import emails, welcome

@pytest.mark.trio
async def test_on_trio():
    async with run_worker(emails):
        assert await welcome.call("ada", timeout=5) == "welcome, ada"
""",
    "plain": """
import asyncio
from anyq.testing import run_worker
from program import emails, welcome

def test_on_asyncio_alone():
    async def main():
        async with run_worker(emails):
            assert await welcome.call("ada", timeout=5) == "welcome, ada"
    asyncio.run(main())

def test_a_queue_of_its_own(anyq_queue, anyq_url):
    assert anyq_queue.url == anyq_url
""",
}

PLUGINS = {"anyio": ["anyio.pytest_plugin"], "trio": ["pytest_trio.plugin"], "plain": []}


@pytest.mark.parametrize(("kind", "passed"), [("anyio", 2), ("trio", 1), ("plain", 2)])
def test_a_user_s_tests_run_on_the_private_server(tmp_path: Path, kind: str, passed: int) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TESTS[kind])
    plugins = [word for plugin in [*PLUGINS[kind], "pytest_anyq"] for word in ("-p", plugin)]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", *plugins],
        cwd=tmp_path,
        env={**outside_of_pytest(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{passed} passed" in run.stdout


def test_pytest_s_start_imports_nothing_of_anyq() -> None:
    program = (
        "import sys, pytest_anyq; print([name for name in ('anyq', 'redis', 'anyio') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
