"""Whether a queue is sound: that its keys are what they should be, that somebody works, and that nothing is stuck.

Rule: the same as in `fitness`: plain functions over facts, and what could not be asked is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from .findings import Finding, Rule, by_rules, ok, problem, unknown, warning
from .words import lasting

#: Seconds after which somebody should wonder why nobody took a ready job.
_LONG: Final = 300.0

#: Seconds by which a delayed job, or a schedule, is late only if nobody looks after it.
_LATE: Final = 30.0

#: Names of consumers of which so many are a leak.
_MANY: Final = 1000


@attrs.frozen(kw_only=True)
class QueueFacts:
    """What is known about a queue.

    Attributes:
        queue: Its name.
        wrong: Keys that hold something else: what they hold, and what they should; ``None`` if nobody could ask.
        entries: Entries in its streams of ready jobs, or ``None`` if they cannot be read.
        groups: Streams that have no consumer group, though they hold entries.
        strangers: Consumer groups that are not AnyQ's.
        consumers: Names of consumers.
        workers: AnyQ's workers that live.
        foreign: Consumers of other programs.
        silent: AnyQ's workers that do not live any more.
        held: Entries in the hands of those.
        vanished: Entries that workers hold and that are not in their stream any more.
        ready: Jobs that nobody took yet.
        oldest: Seconds for which the oldest of them has waited; ``None`` if there is none.
        delayed: Jobs that wait for their time.
        next_due: Seconds until the next of them is due; ``None`` if there is none.
        next_run: Seconds until the next run of a schedule; ``None`` if there is none.
        paused: Whether the queue is paused.
        tasks: Tasks that are paused.
        aside: Jobs that are set aside because of it.
        parked: Jobs that wait for a worker that knows their task, by task; ``None`` if nobody counts them.
        dead: Dead letters.
        trimmed: Dead letters that were trimmed.
        endless: Locks that never expire.
    """

    queue: str
    wrong: Mapping[str, tuple[str, str]] | None = None
    entries: int | None = None
    groups: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()
    consumers: int = 0
    workers: int = 0
    foreign: int = 0
    silent: int = 0
    held: int = 0
    vanished: int = 0
    ready: int = 0
    oldest: float | None = None
    delayed: int = 0
    next_due: float | None = None
    next_run: float | None = None
    paused: bool = False
    tasks: tuple[str, ...] = ()
    aside: int = 0
    parked: Mapping[str, int] | None = None
    dead: int = 0
    trimmed: int = 0
    endless: tuple[str, ...] = ()


def _keys(facts: QueueFacts) -> Finding:
    if facts.wrong is None:
        return unknown("this user may not ask: +type would let it")
    if facts.wrong:
        what = ", ".join(
            f"{key} is a {is_} and no {should}" for key, (is_, should) in sorted(facts.wrong.items())
        )
        return problem(
            what,
            why="another program uses the same names: workers end with WRONGTYPE",
            mend=f"give one of them another name or prefix; or, if nobody needs it: redis-cli DEL '{min(facts.wrong)}'",
        )
    return ok("all keys hold what they should")


def _group(facts: QueueFacts) -> Finding:
    if facts.strangers:
        return warning(
            f"other consumer groups read its stream: {', '.join(facts.strangers)}",
            why="what AnyQ's workers end is deleted, whether the others have read it or not",
            mend="read the events instead (docs/workers.md); redis-cli XGROUP DESTROY removes a group",
        )
    if facts.groups:
        return warning(
            "no worker was ever here: there is no consumer group yet",
            why="jobs wait",
            mend="anyq worker MODULE:QUEUE",
        )
    return ok("the consumer group is there" if facts.entries else "no jobs yet")


def _workers(facts: QueueFacts) -> Finding:
    waiting = facts.ready + facts.delayed + facts.aside
    found = f"{facts.workers} of AnyQ's workers live" + (
        f", and {facts.foreign} consumers of other programs" if facts.foreign else ""
    )
    if facts.workers or facts.foreign:
        if facts.consumers >= _MANY:
            return warning(
                f"{facts.consumers} names of consumers",
                why="listing so many holds up the server for everybody, each time",
                mend="one of the other programs leaves them behind: redis-cli XGROUP DELCONSUMER those without pending",
            )
        return ok(found)
    return (problem if waiting else warning)(
        "no worker lives" + (f", and {waiting} jobs wait" if waiting else ""),
        why="nothing runs",
        mend="anyq worker MODULE:QUEUE",
    )


def _held(facts: QueueFacts) -> Finding:
    if not facts.silent:
        return ok("nobody who is gone holds jobs")
    names = "1 worker that is gone" if facts.silent == 1 else f"{facts.silent} workers that are gone"
    if facts.workers:
        return warning(
            f"{facts.held} jobs are in the hands of {names}",
            why="a living worker takes them over within seconds; if not, none of those who live can",
            mend="look again in ten seconds; then at the workers' logs",
        )
    return (problem if facts.held else warning)(
        f"{facts.held} jobs are in the hands of {names}",
        why="only a living worker takes them over",
        mend="anyq worker MODULE:QUEUE",
    )


def _entries(facts: QueueFacts) -> Finding:
    if facts.vanished:
        return problem(
            f"{facts.vanished} entries that workers hold are not in their stream any more",
            why="somebody trims or deletes the stream of jobs (XTRIM, XDEL): those that nobody has taken are lost",
            mend="find out who: redis-cli MONITOR shows every command for a moment; AnyQ's own take finished jobs "
            "only, and are marked lua there",
        )
    return ok("no entry has vanished")


def _age(facts: QueueFacts) -> Finding:
    if facts.oldest is None:
        return ok("no ready job waits")
    found = f"the oldest of {facts.ready} ready jobs has waited for {lasting(facts.oldest)}"
    if facts.oldest >= _LONG and not facts.paused:
        return warning(
            found,
            why="more comes in than is done",
            mend="more workers, or more --concurrency: see docs/operating/scale.md",
        )
    return ok(found)


def _delayed(facts: QueueFacts) -> Finding:
    if facts.next_due is not None and facts.next_due <= -_LATE:
        return problem(
            f"delayed jobs are late, by {lasting(-facts.next_due)}",
            why="a living worker makes them ready within milliseconds",
            mend="anyq worker MODULE:QUEUE; if one runs, look at its log",
        )
    return ok(f"{facts.delayed} jobs are delayed, and none is late")


def _schedules(facts: QueueFacts) -> Finding:
    if facts.next_run is not None and facts.next_run <= -_LATE:
        return problem(
            f"a schedule is late, by {lasting(-facts.next_run)}",
            why="no worker starts its runs: one that code declares wants a worker with that code",
            mend="anyq schedules list; start a worker that declares it, or anyq schedules remove it",
        )
    return ok(
        "no schedule" if facts.next_run is None else f"the next run is in {lasting(facts.next_run)}",
    )


def _parked(facts: QueueFacts) -> Finding:
    if facts.parked is None:
        return unknown("they are not counted, or this user may not ask")
    if facts.parked:
        what = ", ".join(f"{count} of task {task!r}" for task, count in sorted(facts.parked.items()))
        return warning(
            f"jobs whose task no worker knows: {what}",
            why="each is put off for a while, again and again, and becomes a dead letter after an hour",
            mend="start a worker whose code has these tasks, or cancel them: anyq job cancel ID",
        )
    return ok("every task is known")


def _paused(facts: QueueFacts) -> Finding:
    if not (facts.paused or facts.tasks):
        return ok("nothing is paused")
    what = ["the queue"] if facts.paused else []
    what += [f"task {task!r}" for task in facts.tasks]
    return warning(
        f"paused: {', '.join(what)}" + (f"; {facts.aside} jobs are set aside" if facts.aside else ""),
        why="its jobs wait until somebody resumes it, or the pause ends",
        mend=f"anyq resume --queue {facts.queue}"
        + ("" if facts.paused or not facts.tasks else f" --task {facts.tasks[0]}"),
    )


def _dead(facts: QueueFacts) -> Finding:
    if not facts.dead and not facts.trimmed:
        return ok("no dead letters")
    return warning(
        f"{facts.dead} dead letters" + (f", and {facts.trimmed} were trimmed" if facts.trimmed else ""),
        why="these jobs were given up" + ("; the trimmed ones are gone for good" if facts.trimmed else ""),
        mend=f"anyq dlq errors --queue {facts.queue}; then anyq dlq replay, or anyq dlq delete",
    )


def _locks(facts: QueueFacts) -> Finding:
    if facts.endless:
        return problem(
            f"locks that never expire: {', '.join(facts.endless)}",
            why="nobody else promotes delayed jobs, or starts schedules, on time",
            mend=f"redis-cli DEL {' '.join(repr(lock) for lock in facts.endless)}",
        )
    return ok("all locks expire")


#: The rule that must be content before the others can be asked.
_FIRST: Final[Mapping[str, Rule[QueueFacts]]] = {"keys": _keys}

#: All rules by their names, in the order in which they are told.
RULES: Final[Mapping[str, Rule[QueueFacts]]] = {
    **_FIRST,
    "group": _group,
    "workers": _workers,
    "held": _held,
    "entries": _entries,
    "age": _age,
    "delayed": _delayed,
    "schedules": _schedules,
    "parked": _parked,
    "paused": _paused,
    "dead-letters": _dead,
    "locks": _locks,
}


def examine(facts: QueueFacts) -> list[Finding]:
    """Look at a queue by all rules; a finding for each, or one only if its keys are another program's."""
    return by_rules(facts, _FIRST if facts.wrong else RULES, queue=facts.queue)
