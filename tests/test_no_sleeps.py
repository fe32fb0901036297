"""No test sleeps to wait for something to happen: it waits for the event, and so is neither slow nor flaky.

What may sleep stands in tests/sleeps_allowed.txt, each with its reason: a handler whose work must take time, for one. A
test on the autojump clock sleeps for free.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

TESTS = Path(__file__).parent
MODULES_WITH_A_SLEEP = {"time", "anyio", "asyncio", "trio"}
FREE = "autojump_clock"


def test_nothing_sleeps_but_what_is_allowed_to() -> None:
    allowed = allowed_places()
    wrong = [f"tests/{place}:{line}" for place, line in sleeps() if place not in allowed]
    assert not wrong, "\n".join(
        ["wait for the event instead, or state the reason in sleeps_allowed.txt:", *wrong]
    )


def test_every_allowed_sleep_still_exists_and_has_a_reason() -> None:
    found = {place for place, _ in sleeps()}
    stale = [place for place, reason in allowed_places().items() if place not in found or not reason]
    assert not stale, f"gone, or without a reason: {', '.join(stale)}"


def allowed_places() -> dict[str, str]:
    """`path::function  reason`, one a line."""
    lines = (TESTS / "sleeps_allowed.txt").read_text(encoding="utf-8").splitlines()
    entries = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    return {entry[0]: entry[1] if len(entry) > 1 else "" for entry in entries}


@cache
def sleeps() -> list[tuple[str, int]]:
    """Each sleep that takes real time: `path::function` (dots between nested ones), and its line."""
    return list(_sleeps())


def _sleeps() -> Iterator[tuple[str, int]]:
    for path in sorted(TESTS.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = set(sleep_names(tree))
        for function, call in calls(tree, ()):
            if ast.unparse(call.func) in names and not is_checkpoint(call):
                yield f"{path.relative_to(TESTS).as_posix()}::{'.'.join(function)}", call.lineno


def sleep_names(tree: ast.Module) -> Iterator[str]:
    """What this file calls a sleep: `anyio.sleep`, `sleep` after `from time import sleep`, and aliases of both."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in MODULES_WITH_A_SLEEP:
                    yield f"{alias.asname or alias.name}.sleep"
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES_WITH_A_SLEEP:
            yield from (alias.asname or alias.name for alias in node.names if alias.name == "sleep")


def calls(node: ast.AST, function: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], ast.Call]]:
    """Each call with the functions that it is inside of, except on a clock that jumps."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            arguments = [] if isinstance(child, ast.ClassDef) else child.args.args
            if all(argument.arg != FREE for argument in arguments):
                yield from calls(child, (*function, child.name))
        else:
            if isinstance(child, ast.Call):
                yield function, child
            yield from calls(child, function)


def is_checkpoint(call: ast.Call) -> bool:
    """`sleep(0)` only lets others run."""
    return len(call.args) == 1 and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0
