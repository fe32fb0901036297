"""The process that starts a server and ends it when nobody uses it any more. Run as a script, never imported.

    python -I -S supervisor.py ENDING PROGRAM [ARGUMENT ...]

``ENDING`` is ``keep`` (SIGTERM: the server writes everything down) or ``discard`` (SIGKILL, and the directory goes
too). The working directory is the server's. Standard output is a pipe to whoever starts the server: it gets the
server's process id, then end-of-file when server and supervisor are gone. Standard error is the server's log. The
inherited ``server.lock`` is passed on to the server without a look at it.

A process of its own, because only this is portable and sure: PR_SET_PDEATHSIG is Linux only and fires when the
*thread* that forked ends, ``atexit`` does not run after SIGKILL. It leaves the caller's session, so Ctrl-C and a
closing terminal do not reach the server, and the caller has time to drain; and it is nobody's child, so a program
that waits for all of its children does not meet one that it does not know.

Rule: the server is waiting for every import above its fork; the heavy ones come after it.
"""

from __future__ import annotations

import fcntl
import os
import sys

LAST_WORDS = 10.0  # seconds that a server has between SIGTERM and SIGKILL


def main(ending: str, command: list[str]) -> None:
    if os.fork():
        os._exit(0)  # the starter reaps this one at once
    report = os.dup(1)  # not inheritable, so the server does not keep the pipe open
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(2, 1)
    # The caller's thread may have blocked SIGTERM, and the server would inherit that. `_signal`: `signal` itself loads
    # half of the standard library.
    _signal = __import__("_signal")
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    users = os.open("users.lock", os.O_RDWR | os.O_CREAT, 0o600)  # now: the directory may be gone later
    me = os.getpid()
    server = os.fork()
    if not server:
        become_the_server(command, me)
    try:  # noqa: SIM105 - contextlib is not loaded here
        os.write(report, b"%d\n" % server)
    except BrokenPipeError:
        pass  # the starter was killed meanwhile; its server has to be ended all the same
    supervise(server, users, ending)


def become_the_server(command: list[str], supervisor: int) -> None:
    """Turn into the program. ``LC_ALL``: Redis 7 refuses to start under a locale that the system does not have."""
    try:
        die_with(supervisor)
        os.execve(command[0], command, {**os.environ, "LC_ALL": "C"})
    except OSError as error:
        os.write(2, f"{command[0]} cannot be run: {error}\n".encode())
    finally:
        os._exit(127)


def die_with(supervisor: int) -> None:
    """A second net, for a supervisor that is killed itself: the next user then starts both again."""
    pr_set_pdeathsig, sigterm = 1, 15
    try:
        import ctypes

        ctypes.CDLL(None).prctl(pr_set_pdeathsig, sigterm)
    except (ImportError, OSError, AttributeError):
        return  # not Linux, or a C library without it
    if os.getppid() != supervisor:
        os._exit(1)


def supervise(server: int, users: int, ending: str) -> None:
    import shutil
    import signal
    import threading

    # A service manager tells every process to end. The server is told like the others; this one outlives it.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    unused = threading.Event()
    ended = threading.Event()
    signalling = threading.Lock()

    def tell(number: int) -> None:
        with signalling:  # after its end the process id may be another process's
            if not ended.is_set():
                os.kill(server, number)

    def end_when_unused() -> None:
        fcntl.flock(users, fcntl.LOCK_EX)
        unused.set()
        if ending == "keep":
            tell(signal.SIGTERM)
            ended.wait(LAST_WORDS)
        tell(signal.SIGKILL)

    threading.Thread(target=end_when_unused, daemon=True).start()
    if hasattr(os, "waitid"):  # macOS has it from Python 3.13 on; without it a tiny gap is left open below
        os.waitid(os.P_PID, server, os.WEXITED | os.WNOWAIT)
    with signalling:
        code = os.waitstatus_to_exitcode(os.waitpid(server, 0)[1])
        ended.set()
    if not unused.is_set():
        how = f"with exit status {code}" if code >= 0 else f"by signal {-code}"
        os.write(2, f"the server ended by itself, {how}\n".encode())
    elif ending == "discard":
        shutil.rmtree(os.getcwd(), ignore_errors=True)  # noqa: PTH109 - pathlib is not loaded here
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
