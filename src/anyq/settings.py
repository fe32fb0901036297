"""Settings that belong together: small, frozen, keyword-only, validated at the door.

Rule of this file: a wrong value is refused here, with the setting's name, the value and what is allowed, so that
nothing below has to doubt what it was given. Durations are seconds (``float``) or ``timedelta`` outside and seconds
inside; moments are aware ``datetime``s outside and epoch milliseconds inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import attrs

#: What may be given wherever a length of time is asked for.
Duration = float | int | timedelta

#: The longest text of an error or a traceback that is kept with a job, in characters.
ERROR_TEXT_LIMIT = 8192

#: The longest duration, in seconds: `timedelta.max`. Beyond, milliseconds would not fit into Redis's numbers.
LONGEST = timedelta.max.total_seconds()

#: Names of queues, tasks, jobs: bytes of UTF-8 (chasquimq's limit for a task's name, used for all of them).
NAME_LIMIT = 256


def seconds(setting: str, value: object, *, zero: bool = True) -> float:
    """Give a duration as seconds, or refuse it by the setting's name."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{setting} must be a number of seconds or a timedelta, not {value!r}")
    if not 0 <= value < math.inf or (value == 0 and not zero):
        raise ValueError(
            f"{setting} must be a finite number of seconds {'>= 0' if zero else '> 0'}, not {value!r}"
        )
    if value > LONGEST:
        raise ValueError(f"{setting} must be at most {LONGEST:.0f} seconds, not {value!r}")
    return float(value)


def optional_seconds(setting: str, value: object, *, zero: bool = False) -> float | None:
    """Like `seconds`, and ``None`` stays ``None``."""
    return None if value is None else seconds(setting, value, zero=zero)


def moment(setting: str, value: object) -> int:
    """Give an aware datetime as epoch milliseconds, or refuse it by the setting's name."""
    if not isinstance(value, datetime):
        raise TypeError(f"{setting} must be an aware datetime, not {value!r}")
    if value.tzinfo is None:
        raise ValueError(
            f"{setting} must be an aware datetime, and {value!r} is naive: give it a timezone, "
            "such as datetime.now(timezone.utc)"
        )
    return int(value.timestamp() * 1000)


def from_milliseconds(value: int) -> datetime:
    """Give epoch milliseconds as an aware datetime in UTC; the edges of time are clamped, never an error."""
    try:
        return datetime.fromtimestamp(value / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.max.replace(tzinfo=UTC) if value > 0 else datetime.min.replace(tzinfo=UTC)


def at_least(setting: str, value: object, minimum: int, maximum: int | None = None) -> int:
    """Give a whole number within bounds, or refuse it by the setting's name."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{setting} must be a whole number, not {value!r}")
    if value < minimum or (maximum is not None and value > maximum):
        allowed = f">= {minimum}" if maximum is None else f"from {minimum} to {maximum}"
        raise ValueError(f"{setting} must be {allowed}, not {value!r}")
    return value


def flag(setting: str, value: object, *, default: bool = False) -> bool:
    """Give a yes or no, or refuse it by the setting's name: ``"no"`` would count as a yes. ``None`` is the default."""
    if value is None:
        return default
    if not isinstance(value, bool):
        raise TypeError(f"{setting} must be True or False, not {value!r}")
    return value


def name(setting: str, value: object) -> str:
    """Give a name that is safe in keys, logs and terminals, or refuse it by the setting's name.

    Braces would move a key to another Cluster slot; control characters would break a log line or a terminal.
    """
    if not isinstance(value, str):
        raise TypeError(f"{setting} must be a string, not {value!r}")
    if not value:
        raise ValueError(f"{setting} must not be empty")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise ValueError(f"{setting} must be valid Unicode, and {value!r} is not") from None
    if size > NAME_LIMIT:
        raise ValueError(f"{setting} must be at most {NAME_LIMIT} bytes, and {value[:40]!r}... has {size}")
    if "{" in value or "}" in value or not value.isprintable():
        character = next(one for one in value if one in "{}" or not one.isprintable())
        raise ValueError(
            f"{setting} must not contain braces or control characters, and {value!r} has {character!r}"
        )
    return value


@attrs.frozen(kw_only=True)
class Backoff:
    """How long a failed job waits before its next attempt.

    Make one with `fixed`, `exponential` or `of`:

        >>> from anyq import Backoff
        >>> Backoff.exponential(0.5, maximum=60)
        Backoff.exponential(0.5, maximum=60.0, multiplier=2.0, jitter=True)

    Exponential waits use *full jitter*: a wait is drawn evenly from zero to the step, so that jobs that failed
    together do not come back together; the maximum is never exceeded.

    Attributes:
        kind: ``fixed``, ``exponential`` or ``function``.
        delay: The first step, in seconds.
        maximum: The longest wait, in seconds.
        multiplier: The growth from step to step.
        jitter: Whether a wait is drawn evenly from zero to the step.
        spread: Seconds of random delay added to a step: how chasquimq's jobs ask for jitter.
        function: The function given to `of`.
    """

    kind: str
    delay: float
    maximum: float
    multiplier: float
    jitter: bool
    spread: float = 0.0
    function: Callable[[int], float | timedelta] | None = None

    @staticmethod
    def fixed(delay: Duration) -> Backoff:
        """Wait ``delay`` seconds every time."""
        step = seconds("delay", delay)
        return Backoff(kind="fixed", delay=step, maximum=step, multiplier=1.0, jitter=False)

    @staticmethod
    def exponential(
        delay: Duration = 0.5, *, maximum: Duration = 60, multiplier: float = 2.0, jitter: bool = True
    ) -> Backoff:
        """Wait up to ``delay`` seconds after the first failure, ``multiplier`` times as long after each further one.

        Args:
            delay: The first step, in seconds.
            maximum: No wait is longer than this, in seconds; jitter included.
            multiplier: The growth from step to step, at least 1.
            jitter: Draw the wait evenly from zero to the step; ``False`` waits the whole step.
        """
        if (
            isinstance(multiplier, bool)
            or not isinstance(multiplier, int | float)
            or not 1 <= multiplier < math.inf
        ):
            raise ValueError(f"multiplier must be a finite number >= 1, not {multiplier!r}")
        return Backoff(
            kind="exponential",
            delay=seconds("delay", delay),
            maximum=seconds("maximum", maximum),
            multiplier=float(multiplier),
            jitter=flag("jitter", jitter),
        )

    @staticmethod
    def of(function: Callable[[int], float | timedelta]) -> Backoff:
        """Ask ``function(failures)`` for the seconds to wait; ``failures`` counts from 1.

        The function runs in the worker, so it belongs to a task, not to a single call's options. If it raises or
        returns nonsense, the default backoff is used and the mistake is logged.
        """
        if not callable(function):
            raise TypeError(f"Backoff.of needs a function of the number of failures, not {function!r}")
        return Backoff(
            kind="function", delay=0.0, maximum=math.inf, multiplier=1.0, jitter=False, function=function
        )

    def __repr__(self) -> str:
        if self.function is not None:
            return f"Backoff.of({self.function!r})"
        if self.kind == "fixed":
            return f"Backoff.fixed({self.delay!r})"
        return (
            f"Backoff.exponential({self.delay!r}, maximum={self.maximum!r}, multiplier={self.multiplier!r}, "
            f"jitter={self.jitter!r})"
        )


def _at_least(minimum: int) -> Callable[[object, attrs.Attribute[int], int], None]:
    def validate(_owner: object, field: attrs.Attribute[int], value: int) -> None:
        at_least(field.name, value, minimum)

    return validate


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds on what one job may bring along.

    Attributes:
        payload: The largest job in bytes, as it lies in the stream; refused at ``enqueue``, dead-lettered on arrival.
        depth: How deeply containers may nest in a payload or a result.
        result: The largest result in bytes.
        log_lines: Lines that are kept of a job's log: the last ones.
        log_bytes: Bytes that are kept of a job's log: the last lines.
    """

    payload: int = attrs.field(default=1024 * 1024, validator=_at_least(1))
    depth: int = attrs.field(default=64, validator=_at_least(1))
    result: int = attrs.field(default=1024 * 1024, validator=_at_least(1))
    log_lines: int = attrs.field(default=1000, validator=_at_least(1))
    log_bytes: int = attrs.field(default=64 * 1024, validator=_at_least(256))


def _ids(value: Duration) -> float:
    return seconds("ids", value)


def _outcomes(value: Duration) -> float:
    return seconds("outcomes", value)


def _logs(value: Duration) -> float:
    return seconds("logs", value)


def _history(value: Duration) -> float:
    return seconds("history", value)


def _age(value: Duration | None) -> float | None:
    return optional_seconds("dead_letter_age", value)


@attrs.frozen(kw_only=True)
class Retention:
    """How long, or how many, of what is kept after the fact.

    Attributes:
        ids: Seconds past a job's *end* for which its caller-chosen id stays taken, as the worker that ends it is set.
            At 0 (the default) the id is free again in the very step that ends its job; until then it is taken.
        logs: Seconds past a job's end for which its log and its last progress are kept. An hour.
        outcomes: Seconds past a *tracked* job's end for which it is known how it ended, so that jobs can still be
            enqueued ``after`` it. An hour.
        dead_letters: How many dead letters a queue keeps; the oldest are trimmed, logged and counted.
        dead_letter_age: Seconds for which a dead letter is kept; ``None`` (the default) for any time. A worker looks
            every minute, and what is too old is trimmed, logged and counted.
        events: How many entries the events stream keeps.
        history: Seconds for which it is kept how much happened in each minute; of minutes in which something happened
            the last that many are kept, and at least ten. A week, which is at most some 700 kB in Redis.
    """

    ids: float = attrs.field(default=0.0, converter=_ids)
    outcomes: float = attrs.field(default=3600.0, converter=_outcomes)
    logs: float = attrs.field(default=3600.0, converter=_logs)
    dead_letters: int = attrs.field(default=100_000, validator=_at_least(1))
    dead_letter_age: float | None = attrs.field(default=None, converter=_age)
    events: int = attrs.field(default=100_000, validator=_at_least(1))
    history: float = attrs.field(default=7 * 24 * 3600.0, converter=_history)

    @property
    def history_minutes(self) -> int:
        """The same in whole minutes."""
        return max(10, math.ceil(self.history / 60))
