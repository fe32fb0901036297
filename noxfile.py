"""What a developer runs, each in an environment of its own: `nox` does what CI does, `nox -l` lists the rest."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2026.4.10"
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "lint", "types"]

PYTHONS = ["3.11", "3.12", "3.13"]
ROOT = Path(__file__).parent

#: Most tests wait rather than compute: more processes than cores. A later `-n 0` wins.
PARALLEL = ["-n", "4"]

#: The suites that must pass on every server of the matrix; the others see none, or choose their own.
SERVER_SUITES = ["tests/redis", "tests/store", "tests/worker", "tests/faults", "tests/embedded"]


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """The whole suite, on a server that it starts itself. Arguments go to pytest."""
    session.install("-e", ".[test]")
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's rules and format."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Mypy strict, pyright strict, and no hole in the public types."""
    session.install("-e", ".[dev]")
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--verifytypes", "anyq", "--ignoreexternal")


@nox.session
def docs(session: nox.Session) -> None:
    """The pages, into docs/_build or the folder that is given; a warning is an error."""
    session.install("-e", ".[all,docs]")
    session.run(
        "sphinx-build",
        "--fail-on-warning",
        "--keep-going",
        "-b",
        "html",
        "docs",
        *(session.posargs or ["docs/_build"]),
    )


@nox.session
def floors(session: nox.Session) -> None:
    """The suite with the oldest dependencies that pyproject.toml admits."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    users = ("trio", "embedded", "cli", "prometheus", "otel")
    bounds = [*project["dependencies"], *(bound for extra in users for bound in extras[extra])]
    session.install("-e", ".[test]", *(bound.split(",")[0].replace(">=", "==") for bound in bounds))
    session.run("pytest", *PARALLEL, *session.posargs)


@nox.session
def matrix(session: nox.Session) -> None:
    """The server suites on each server of a folder: `nox -s matrix -- --servers DIR`, or $ANYQ_SERVERS."""
    folder, arguments = _servers(session)
    session.install("-e", ".[test]")
    failed: list[str] = []
    for server in sorted(path for path in folder.iterdir() if path.is_file() and os.access(path, os.X_OK)):
        session.log(f"on {server.name}")
        try:
            session.run("pytest", *PARALLEL, "--server", str(server), *SERVER_SUITES, *arguments)
        except CommandFailed:  # go on: the answer is which servers fail, not only the first
            failed.append(server.name)
    if failed:
        session.error(f"failed on {', '.join(failed)}")


@nox.session
def bench(session: nox.Session) -> None:
    """The measured table; it makes each peer an environment of its own. Needs the matrix's Redis 8.6."""
    folder, arguments = _servers(session)
    session.run("python", "-m", "bench", "--server", str(folder / "redis-8.6"), *arguments)


@nox.session
def interop(session: nox.Session) -> None:
    """Both directions with chasquimq 1.3.0, which needs the matrix's Redis 8.6."""
    folder, arguments = _servers(session)
    session.install("-e", ".[test]")  # chasquimq has an environment of its own: it wants another redis
    session.run("pytest", "--server", str(folder / "redis-8.6"), "tests/interop", *arguments)


@nox.session(python="3.13")
def nightly(session: nox.Session) -> None:
    """The whole suite on asyncio's other loops: in its debug mode, uvloop, and eager tasks (from Python 3.12)."""
    session.install("-e", ".[test]", "uvloop")
    loops = [word for loop in ("debug", "uvloop", "eager") for word in ("--loop", f"asyncio+{loop}")]
    session.run("pytest", *PARALLEL, *loops, *session.posargs)


def _servers(session: nox.Session) -> tuple[Path, list[str]]:
    """The folder of servers (`--servers DIR`, else $ANYQ_SERVERS), and the arguments that remain."""
    arguments = list(session.posargs)
    folder = os.environ.get("ANYQ_SERVERS")
    if "--servers" in arguments:
        at = arguments.index("--servers")
        folder = arguments[at + 1] if at + 1 < len(arguments) else None
        del arguments[at : at + 2]
    if not folder or not Path(folder).is_dir():
        session.error(
            f"needs a folder of server programs: -- --servers DIR, or $ANYQ_SERVERS (now: {folder})"
        )
    return Path(folder).resolve(), arguments
