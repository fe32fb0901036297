"""What a schedule is, and when it makes jobs.

A schedule has one *planned time*, the next. `first` plans it, `judge` says what is due and plans again, `resumed` plans
after a pause. All of them are handed the server's clock; times are epoch milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import attrs

from ..settings import Duration, at_least, seconds
from .codec import encode as encode_envelope
from .cron import Crontab, expression, zone
from .job import NO_EXTRAS, NO_OVERRIDE, Extras, Override

#: Planned times that one decision looks at. More that were missed come with the next one.
MOST: Final = 100

#: The most missed runs that can be asked for: a bounded time in which nothing else is decided.
MOST_MISSED: Final = 1000

#: Seconds by which a run may be late and still be no missed one, where nothing else is said.
SKIP_GRACE: Final = 60.0

#: Beyond, milliseconds are not the same as floats in every language.
LARGEST: Final = 2**53 - 1

# -- what a user says -------------------------------------------------------------------------------------------------


def _interval(value: Duration) -> float:
    interval = seconds("interval", value)
    if interval < 0.001 or interval * 1000 > LARGEST:
        raise ValueError(f"interval must be at least a millisecond, and what Redis can count, not {value!r}")
    return round(interval * 1000) / 1000


@attrs.frozen
class Every:
    """Due again and again, after the same time each.

        >>> from anyq import Every
        >>> Every(60)
        Every(interval=60.0)

    Attributes:
        interval: Seconds (or a ``timedelta``) from one planned time to the next, at least a millisecond.
    """

    interval: float = attrs.field(converter=_interval)

    @property
    def milliseconds(self) -> int:
        """The interval in milliseconds."""
        return round(self.interval * 1000)


def _expression(value: str) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expression must be a string such as '0 2 * * *', not {value!r}")
    return expression(value)


def _tz(value: str | None) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"tz must be a string such as 'Europe/Berlin', not {value!r}")
    zone(value)
    return value


@attrs.frozen
class Cron:
    """Due when a clock on the wall shows a time that matches.

        >>> from anyq import Cron
        >>> Cron("0 2 * * *", tz="Europe/Berlin")
        Cron(expression='0 2 * * *', tz='Europe/Berlin')

    Five fields, minute, hour, day of the month, month, weekday, as in Debian's cron; or six, with seconds before them;
    or ``@hourly``, ``@daily``, ``@weekly``, ``@monthly``, ``@yearly``. When days of the month and weekdays are both
    named, one of them is enough. ``L`` is the last day, ``5L`` the last Friday, ``MON#2`` the second Monday.

    When clocks are changed, an expression whose minute or hour begins with ``*`` follows the wall: it is due in both of
    the hours that show the same, and not in one that does not come. Times of day are due once each: what does not come
    is due at the jump, what comes twice the first time.

    Attributes:
        expression: When.
        tz: Where the clock hangs: an IANA name or an offset (``+05:30``); ``None`` for UTC.
    """

    expression: str = attrs.field(converter=_expression)
    tz: str | None = attrs.field(default=None, converter=_tz)
    _crontab: Crontab = attrs.field(
        init=False,
        repr=False,
        eq=False,
        default=attrs.Factory(lambda self: Crontab(self.expression, self.tz), takes_self=True),
    )

    def after(self, moment_ms: int) -> int | None:
        """Give the first time it is due that is later, in epoch milliseconds."""
        return self._crontab.after(moment_ms)

    def until(self, moment_ms: int) -> int | None:
        """Give the last time it was due that is not later, in epoch milliseconds."""
        return self._crontab.until(moment_ms)


@attrs.frozen(kw_only=True)
class Missed:
    """What becomes of runs whose time passed while nobody could start them.

    Make one with `skip`, `once` or `all`.

    Attributes:
        kind: ``skip``, ``once`` or ``all``.
        most: How many are made up at most.
        grace: Seconds by which a run may be late and still be no missed one, for ``skip``.
    """

    kind: Literal["skip", "once", "all"]
    most: int = 1
    grace: float = SKIP_GRACE

    @staticmethod
    def skip(*, grace: Duration = SKIP_GRACE) -> Missed:
        """Leave them out: a run is started at most ``grace`` seconds late, and of several only the latest.

        Args:
            grace: Seconds, at least one: a worker that is busy or comes back is not late at once.
        """
        allowed = seconds("grace", grace)
        if allowed < 1:
            raise ValueError(f"grace must be at least 1 second, not {grace!r}")
        return Missed(kind="skip", grace=allowed)

    @staticmethod
    def once() -> Missed:
        """Start the latest of them, however late: what a schedule does that says nothing."""
        return Missed(kind="once")

    @staticmethod
    def all(most: int) -> Missed:
        """Start each of them, oldest first, but only the latest ``most`` (1000 at most)."""
        return Missed(kind="all", most=at_least("most", most, 1, MOST_MISSED))

    def __repr__(self) -> str:
        inside = {"skip": f"grace={self.grace!r}", "once": "", "all": repr(self.most)}
        return f"Missed.{self.kind}({inside[self.kind]})"


ONCE: Final = Missed.once()


def milliseconds(setting: str, value: Duration) -> int:
    """Give a duration in whole milliseconds, or refuse it by the setting's name."""
    return round(min(seconds(setting, value) * 1000, LARGEST))


# -- what the scheduler knows -----------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Spec:
    """A schedule's definition.

    Attributes:
        name: Its name; chasquimq calls it a key.
        task: The task whose jobs it makes.
        when: When they are due.
        body: Their arguments, encoded.
        limit: How many runs it plans in all.
        start_ms: Nothing is planned before.
        end_ms: Nothing is planned after.
        missed: What becomes of missed runs.
        jitter_ms: Each job waits up to so long, by chance.
        deadline_ms: So long after its planned time a job is not started any more.
        declared: Whether a program's code declares it: then only workers of such a program start its runs.
        override: How the jobs run, for every program.
        extras: How they run, for AnyQ.
    """

    name: str
    task: str
    when: Cron | Every
    body: bytes = attrs.field(repr=False)
    limit: int | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    missed: Missed = ONCE
    jitter_ms: int = 0
    deadline_ms: int | None = None
    declared: bool = False
    override: Override = NO_OVERRIDE
    extras: Extras = NO_EXTRAS

    @property
    def timing(self) -> tuple[Cron | Every, int | None]:
        """What planned times follow from: while it stays the same, they do."""
        return self.when, self.start_ms

    def envelope(self, job_id: str, planned_ms: int, now_ms: int) -> bytes:
        """Write the job that is planned for this time."""
        extras = attrs.evolve(self.extras, scheduled=planned_ms)
        if self.deadline_ms is not None:
            extras = attrs.evolve(extras, deadline_ms=min(planned_ms + self.deadline_ms, LARGEST))
        return encode_envelope(job_id, self.body, now_ms, 0, self.override, extras)


@attrs.frozen
class Firing:
    """What is to be done about a schedule that is due.

    Attributes:
        times: The planned times whose jobs are to be made, oldest first.
        next_ms: The next planned time; ``None`` when the schedule has ended.
        otherwise_ms: The same if a job still holds the unique key, so that none is made; with such a key alone.
    """

    times: tuple[int, ...]
    next_ms: int | None
    otherwise_ms: int | None = None


def first(spec: Spec, now_ms: int) -> int | None:
    """Plan a new schedule; ``None`` if it would never be due."""
    start = spec.start_ms
    if isinstance(spec.when, Cron):
        return _within(spec, spec.when.after(now_ms if start is None else max(now_ms, start - 1)))
    step = spec.when.milliseconds
    if start is None:
        return _within(spec, now_ms + step)
    return _within(spec, start if start > now_ms else start + ((now_ms - start) // step + 1) * step)


def resumed(spec: Spec, planned_ms: int, now_ms: int) -> int | None:
    """Plan after a pause: what was due meanwhile was not missed, it was not wanted."""
    return _within(spec, planned_ms if planned_ms > now_ms else _after(spec.when, planned_ms, now_ms))


def judge(spec: Spec, planned_ms: int, now_ms: int, fired: int, most: int = MOST) -> Firing:
    """Say what is to be done about a schedule whose planned time has come.

    Args:
        spec: The schedule.
        planned_ms: Its planned time.
        now_ms: The server's clock.
        fired: How many runs it has made.
        most: How many to make at most now; the others are planned for next.
    """
    times = _due(spec, planned_ms, now_ms)
    following = times[most] if len(times) > most else _after(spec.when, planned_ms, now_ms)
    times = [time for time in times[:most] if spec.end_ms is None or time <= spec.end_ms]
    otherwise = _within(spec, following) if spec.extras.unique else None  # what is left out uses up no limit
    if spec.limit is not None:
        times = times[: max(0, spec.limit - fired)]
        if fired + len(times) >= spec.limit:
            following = None
    return Firing(tuple(times), _within(spec, following), otherwise)


def upcoming(spec: Spec, planned_ms: int, now_ms: int, fired: int) -> Iterator[int]:
    """Give the times at which runs are started from now on, in order: planned ones, and missed ones that are made up.

    Args:
        spec: The schedule, which is active.
        planned_ms: Its planned time.
        now_ms: The server's clock.
        fired: How many runs it has made.
    """
    planned: int | None = planned_ms
    while planned is not None and (spec.limit is None or fired < spec.limit):
        if planned <= now_ms:
            firing = judge(spec, planned, now_ms, fired)
        else:
            firing = Firing((planned,), _within(spec, _after(spec.when, planned, planned)))
        yield from firing.times
        fired += len(firing.times)
        planned = firing.next_ms


def _due(spec: Spec, planned: int, now: int) -> list[int]:
    """The planned times that are to be run now, oldest first."""
    when, missed = spec.when, spec.missed
    latest = _latest(when, planned, now)
    if missed.kind == "skip":
        return [latest] if now - latest <= missed.grace * 1000 else []
    if missed.kind == "once" or spec.extras.unique:  # of several, all but the first would find the key taken
        return [latest]
    if isinstance(when, Every):
        count = min(missed.most, (latest - planned) // when.milliseconds + 1)
        return [latest - back * when.milliseconds for back in reversed(range(count))]
    times = [latest]
    while len(times) < missed.most and times[-1] > planned:
        times.append(max(planned, when.until(times[-1] - 1) or planned))
    return times[::-1]


def _latest(when: Cron | Every, planned: int, now: int) -> int:
    if isinstance(when, Every):
        return planned + (now - planned) // when.milliseconds * when.milliseconds
    return max(planned, when.until(now) or planned)


def _after(when: Cron | Every, planned: int, now: int) -> int | None:
    if isinstance(when, Every):
        return planned + ((now - planned) // when.milliseconds + 1) * when.milliseconds
    return when.after(now)


def _within(spec: Spec, moment: int | None) -> int | None:
    if moment is None or moment > LARGEST or (spec.end_ms is not None and moment > spec.end_ms):
        return None
    return moment


__all__ = [
    "LARGEST", "MOST", "MOST_MISSED", "ONCE", "SKIP_GRACE", "Cron", "Every", "Firing", "Missed", "Spec",
    "first", "judge", "milliseconds", "resumed", "upcoming",
]  # fmt: skip
