"""A program that uses an embedded server and does as it is told, one word a line on its standard input.

It answers each line with one line, and so the tests wait for it. See `users.User`, which drives it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import redis

from anyq.embedded import resolve
from anyq.errors import AnyQError


def main(url: str) -> None:
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background job inherits that it is ignored
    say("ready")
    try:
        for line in sys.stdin:
            obey(line.split(), url)
    except KeyboardInterrupt:
        ask(resolve(url), "SET", "drained", "after Ctrl-C")
        say("drained")
        sys.stdin.read()


def obey(words: list[str], url: str) -> None:
    match words:
        case ["resolve"]:
            say(answer(url))
        case ["resolve-in-threads"]:
            together = threading.Barrier(8)
            with ThreadPoolExecutor(8) as pool:
                say(*{*pool.map(lambda _: (together.wait(), resolve(url))[1], range(8))})
        case ["resolve-with-sigterm-blocked"]:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            say(answer(url))
        case ["ask", *command]:
            say(ask(resolve(url), *command))
        case ["pid"]:
            say(server_pid(url))
        case ["children"]:
            say(has_children())
        case ["fork"]:
            fork(url)
        case ["exit"]:
            sys.exit(3)
        case ["raise"]:
            sys.stderr.close()
            raise ZeroDivisionError
        case _:
            raise AssertionError(words)


def say(*words: object) -> None:
    print(*words, flush=True)


def answer(url: str) -> str:
    try:
        return resolve(url)
    except AnyQError as error:
        return f"{type(error).__name__}: {error}".replace("\n", " | ")


def ask(url: str, *command: str) -> Any:
    with redis.Redis.from_url(url, decode_responses=True) as client:
        return cast(Any, client).execute_command(*command)


def server_pid(url: str) -> int:
    with redis.Redis.from_url(resolve(url), decode_responses=True) as client:
        return int(cast(Any, client).info("server")["process_id"])


def has_children() -> bool:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return False
    return True


def fork(url: str) -> None:
    """The child says which server is its own; then it stays, without a word, until its parent's pipe is closed."""
    if os.fork() == 0:
        say(server_pid(url))
        sys.stdin.read()
        os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
