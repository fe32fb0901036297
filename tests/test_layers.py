"""The house has floors: a module imports from its own floor and the ones above it in this list, never from below.

Imports inside functions and under TYPE_CHECKING count too: they are dependencies all the same.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "src" / "anyq"

#: From the ground up. A name stands for the module or the folder `anyq.<name>`; the longest match counts.
LAYERS = [
    {"errors", "settings", "_extras", "_version"},  # names for everyone
    {"embedded", "_embedded"},  # a server without set-up
    {"_core"},  # pure rules
    {"metrics.sink"},  # the protocol that services report to; its adapters are edges
    {"_redis"},  # bytes
    {"_store"},  # verbs
    {"context"},  # which job runs here
    {"_services"},  # duties
    {
        "options",
        "_session",
        "_place",
        "_operating",
        "events",
        "_numbers",
        "_mending",
        "_making",
        "dead_letters",
        "jobs",
        "tasks",
        "aggregates",
        "handles",
        "schedules",
        "queue",
        "vitals",
        "worker",
        "serve",
    },  # what a user holds
    {"__init__"},  # what a user imports
    {"metrics", "tracing"},  # the edges: nothing above imports them
    {"cli", "__main__"},
    {"testing"},
]

#: The one floor that does no I/O, knows no clock and draws no random numbers.
PURE = "_core"
IMPURE = {"anyio", "hiredis", "random", "redis", "secrets", "sniffio", "time", "uuid"}
CLOCKS = {"now", "today", "utcnow"}

#: Backends are AnyIO's business; a loop is started by the command line and its own file only.
BACKENDS = {"asyncio", "trio", "uvloop"}
LOOP_STARTERS = {
    "anyio.run",
    "anyio.from_thread.start_blocking_portal",
    "anyio.from_thread.BlockingPortalProvider",
}
MAY_START_A_LOOP = ("cli", "_run", "__main__")

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def test_a_module_imports_only_from_its_own_layer_and_those_before_it() -> None:
    wrong = [
        f"{place} anyq.{module} imports anyq.{target}"
        for module, target, place in inner_imports()
        if layer(target) > layer(module)
    ]
    assert not wrong, "\n".join(["against the order of layers:", *wrong])


def test_every_module_has_a_layer() -> None:
    homeless = [f"src/anyq: {module}" for module in MODULES if layer(module) < 0]
    assert not homeless, "\n".join(["in no layer of tests/test_layers.py:", *homeless])


def test_the_core_is_pure() -> None:
    wrong = [
        f"{place} anyq.{module} imports {name}"
        for module in MODULES
        for name, place in imports(module)
        if inside(module, PURE) and name.split(".")[0] in IMPURE | BACKENDS
    ]
    wrong += [
        f"{place} anyq.{module} reads the clock: {name}()"
        for module in MODULES
        for name, place in calls(module)
        if inside(module, PURE) and name.split(".")[-1] in CLOCKS
    ]
    assert not wrong, "\n".join(["a pure rule is handed what it needs:", *wrong])


def test_no_module_names_a_backend() -> None:
    wrong = [
        f"{place} anyq.{module} imports {name}"
        for module in MODULES
        for name, place in imports(module)
        if name.split(".")[0] in BACKENDS
    ]
    assert not wrong, "\n".join(["only AnyIO knows which backend runs:", *wrong])


def test_a_loop_is_started_in_one_place() -> None:
    wrong = [
        f"{place} anyq.{module} uses {name}"
        for module in MODULES
        if not any(inside(module, allowed) for allowed in MAY_START_A_LOOP)
        for name, place in [*imports(module), *calls(module)]
        if name in LOOP_STARTERS or name.rpartition(".")[2] in LOOP_STARTERS
    ]
    assert not wrong, "\n".join(["a library is run by its user's loop:", *wrong])


def inside(module: str, name: str) -> bool:
    """Whether the module is this one or lies in this folder."""
    return module == name or module.startswith(name + ".")


def layer(module: str) -> int:
    """The floor of a module by the longest name that fits it; -1 for none."""
    fitting = [
        (len(name), floor) for floor, names in enumerate(LAYERS) for name in names if inside(module, name)
    ]
    return max(fitting, default=(0, -1))[1]


def inner_imports() -> Iterator[tuple[str, str, str]]:
    """Each import of one module of the package by another: who, whom, where."""
    for module in MODULES:
        for name, place in imports(module):
            if name.split(".")[0] == "anyq":
                target = name.removeprefix("anyq").removeprefix(".") or "__init__"
                while target not in MODULES:  # a name inside of a module is that module
                    target = target.rpartition(".")[0] or "__init__"
                if target != module:
                    yield module, target, place


def imports(module: str) -> Iterator[tuple[str, str]]:
    """Each name that a module imports, in full, and the line that does it."""
    path = MODULES[module]
    package = ["anyq", *path.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = [*package[: len(package) + 1 - node.level], node.module] if node.level else [node.module]
            found = [".".join([*filter(None, source), alias.name]) for alias in node.names]
        else:
            continue
        for name in found:
            yield name, where(path, node)


def calls(module: str) -> Iterator[tuple[str, str]]:
    """Each dotted name that a module calls, as written, and the line that does it."""
    path = MODULES[module]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func), where(path, node)


def where(path: Path, node: ast.stmt | ast.expr) -> str:
    """A place as editors and terminals understand it."""
    return f"{path.relative_to(PACKAGE.parent.parent)}:{node.lineno}:"
