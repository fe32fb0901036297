"""What is measured, with which program, and what must be reached: the one place to read before the numbers.

Rule: data only. A measurement is a list of runs that take turns, the figures that each run reports, and goals.
"""

from __future__ import annotations

from typing import NamedTuple

PRELOADED = 50_000
BATCHED = 200_000
ONE_BY_ONE = 10_000
SAMPLES = 500
COUNTED = 20_000
SHORT, DEEP = 1_000, 1_000_000
RUN_OF_A_DEEP_BACKLOG = 100_000


class Run(NamedTuple):
    """One contender's process: a row of the table.

    Attributes:
        label: The row's name.
        peer: Whose environment it runs in.
        program: Which of the peer's programs: ``consume``, ``enqueue``, ``latency``.
        arguments: Its command line.
        jobs: How many jobs it is about.
        preload: How many jobs the peer's own producer puts there beforehand.
        monitored: Whether the server's MONITOR counts the commands.
    """

    label: str
    peer: str
    program: str
    arguments: tuple[str, ...]
    jobs: int
    preload: int = 0
    monitored: bool = False


class Figure(NamedTuple):
    """One number that a run reports: a column of the table."""

    field: str
    title: str
    digits: int = 0


class Goal(NamedTuple):
    """What must be reached: the median of ``field``, or of its ratio to another run's in the same round.

    Exactly one of ``least`` and ``most`` is given.
    """

    label: str
    field: str
    over: str | None = None
    least: float | None = None
    most: float | None = None


class Measurement(NamedTuple):
    """A table of the report. Every ratio is to the row named ``baseline``, of the first figure."""

    key: str
    title: str
    about: str
    runs: tuple[Run, ...]
    figures: tuple[Figure, ...]
    goals: tuple[Goal, ...]
    baseline: str = "chasquimq"


def contenders(
    program: str, *arguments: str, jobs: int, preload: int = 0, monitored: bool = False
) -> tuple[Run, ...]:
    """The three that can do everything that is asked here, with the same command line each."""

    def run(label: str, peer: str, backend: str) -> Run:
        return Run(label, peer, program, (*arguments, "--backend", backend), jobs, preload, monitored)

    return (
        run("chasquimq", "chasquimq", "asyncio"),
        run("anyq asyncio", "anyq", "asyncio"),
        run("anyq trio", "anyq", "trio"),
    )


def consumers(*arguments: str) -> tuple[Run, ...]:
    """The contenders with preloaded jobs, and ChasquiMQ a second time, at its best.

    Its native threads hand each job to the thread of the event loop. Left alone they spread over the cores and
    fight for the interpreter's lock; kept on one core they do not, and a job costs half. Which of the two a run meets
    is chance on a machine with neighbours, so both are shown. The goals are about the library as users start it.
    """
    chasquimq, *ours = contenders("consume", *arguments, jobs=PRELOADED, preload=PRELOADED)
    pinned = chasquimq._replace(
        label="chasquimq, on one core", arguments=(*chasquimq.arguments, "--one-core")
    )
    return (chasquimq, pinned, *ours)


RATES = (
    Figure("rate", "jobs a second"),
    Figure("handler_rate", "first to last job, jobs a second"),
    Figure("cpu_us", "CPU of the worker, µs a job", 1),
)

CONSUME = Measurement(
    key="consume",
    title="Consume, events off",
    about=f"{PRELOADED:,} jobs preloaded, an async handler that does nothing, concurrency 100, no events.",
    runs=consumers(),
    figures=RATES,
    goals=(
        Goal("anyq asyncio", "rate", over="chasquimq", least=10),
        Goal("anyq trio", "rate", over="anyq asyncio", least=0.85),
    ),
)

CONSUME_EVENTS = Measurement(
    key="consume-events",
    title="Consume, events on",
    about="The same, and each run of a job is told on the events stream.",
    runs=consumers("--events", "on"),
    figures=RATES,
    goals=(Goal("anyq asyncio", "rate", over="chasquimq", least=7),),
)

CONSUME_YIELD = Measurement(
    key="consume-yield",
    title="Consume, a handler that yields",
    about="Events off; the handler awaits `sleep(0)` once (that of `asyncio` or `trio`).",
    runs=consumers("--handler", "yield"),
    figures=RATES,
    goals=(Goal("anyq asyncio", "rate", over="chasquimq", least=5),),
)

BULK = Measurement(
    key="enqueue-many",
    title="Enqueue in batches",
    about=f"{BATCHED:,} jobs in batches of 1,000, one after the other: `enqueue_many`, and ChasquiMQ's `add_bulk`.",
    runs=contenders("enqueue", jobs=BATCHED),
    figures=(Figure("rate", "jobs a second"),),
    goals=(Goal("anyq asyncio", "rate", over="chasquimq", least=2),),
)

SINGLE = Measurement(
    key="enqueue",
    title="Enqueue one by one",
    about=(
        f"{ONE_BY_ONE:,} jobs by one task, each call awaited; then as many by 100 concurrent tasks that share "
        "one `Queue`."
    ),
    runs=contenders("enqueue", "--mode", "single", jobs=ONE_BY_ONE),
    figures=(
        Figure("concurrent_rate", "100 tasks, jobs a second"),
        Figure("sequential_rate", "one task, jobs a second"),
        Figure("speedup", "100 tasks over one", 1),
    ),
    goals=(Goal("anyq asyncio", "speedup", least=5), Goal("anyq trio", "speedup", least=5)),
)

LATENCY = Measurement(
    key="latency",
    title="Enqueue to start",
    about=(
        f"An idle worker and a producer, two processes on loopback, events off; {SAMPLES} jobs, each 5 to 15 ms after "
        "the one before. From just before the producer's call to the handler's first line. Lower is better."
    ),
    runs=(
        *contenders("latency", jobs=SAMPLES),
        Run("streaq", "streaq", "latency", ("--backend", "asyncio"), SAMPLES),
    ),
    figures=(
        Figure("p50_ms", "p50, ms", 2),
        Figure("p99_ms", "p99, ms", 2),
        Figure("max_ms", "longest, ms", 2),
    ),
    goals=tuple(
        Goal(label, field, most=most)
        for label in ("anyq asyncio", "anyq trio")
        for field, most in (("p50_ms", 1), ("p99_ms", 5))
    ),
)

COMMANDS = Measurement(
    key="commands",
    title="Commands a job",
    about=(
        f"What the worker sends while it empties {COUNTED:,} preloaded jobs, start included, as MONITOR sees it; what "
        "a script calls inside the server is not counted. Events off. Lower is better."
    ),
    runs=contenders("consume", jobs=COUNTED, preload=COUNTED, monitored=True),
    figures=(Figure("commands_per_job", "commands a job", 4), Figure("commands", "commands in all")),
    goals=tuple(Goal(label, "commands_per_job", most=0.1) for label in ("anyq asyncio", "anyq trio")),
)


def _memory_runs() -> tuple[Run, ...]:
    def deep(run: Run) -> Run:
        return run._replace(label=f"{run.label}, {DEEP:,}", arguments=(*run.arguments, "--until", "handled"))

    short_runs = contenders("consume", jobs=SHORT, preload=SHORT)
    deep_runs = contenders("consume", jobs=RUN_OF_A_DEEP_BACKLOG, preload=DEEP)
    pairs = zip(short_runs, deep_runs, strict=True)
    return tuple(
        run
        for short, deep_run in pairs
        for run in (short._replace(label=f"{short.label}, {SHORT:,}"), deep(deep_run))
    )


MEMORY = Measurement(
    key="memory",
    title="Memory of the worker",
    about=(
        f"The most memory that the worker's process ever had (VmHWM, MiB), emptying a backlog of {SHORT:,} jobs, and "
        f"after {RUN_OF_A_DEEP_BACKLOG:,} jobs of a backlog of {DEEP:,}. Flat is better."
    ),
    runs=_memory_runs(),
    figures=(
        Figure("peak_mib", "most, MiB", 1),
        Figure("before_mib", "before it started, MiB", 1),
    ),
    goals=tuple(
        Goal(f"{label}, {DEEP:,}", "peak_mib", over=f"{label}, {SHORT:,}", most=1.1)
        for label in ("anyq asyncio", "anyq trio")
    ),
    baseline=f"chasquimq, {SHORT:,}",
)

ALL = (CONSUME, CONSUME_EVENTS, CONSUME_YIELD, BULK, SINGLE, LATENCY, COMMANDS, MEMORY)
