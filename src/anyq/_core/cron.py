"""When a cron expression is due, by the wall clock of a time zone that may change between summer and winter.

The library reads expressions and walks over days and hours as if no clock were ever changed; which instants those are
is decided here, as Debian's cron does. An expression whose minute or hour begins with ``*`` goes by the clock on the
wall: it is due whenever that shows a matching time, also in the hour that comes twice, and not in one that does not
come. Every other expression means times of day: one that does not come is due when the clock has jumped over it, one
that comes twice is due the first time.

Instants are whole epoch milliseconds outside and whole seconds inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

#: No sensible expression is longer; what a foreign program sends is read no further.
_LONGEST = 256

_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

_ANY_DAY = datetime(2000, 1, 1)  # noqa: DTZ001 - wall clocks have no zone


def zone(name: str | None) -> tzinfo:
    """Find a time zone: an IANA name, an offset such as ``+05:30``, or ``None`` for UTC.

    Raises:
        ValueError: There is none of this name.
    """
    if name is None or name in {"UTC", "Z"}:
        return UTC
    if name[:1] in {"+", "-"}:
        digits = name[1:].replace(":", "", 1)
        if len(digits) == 4 and digits.isascii() and digits.isdigit() and int(digits[2:]) < 60:
            ahead = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
            if ahead < timedelta(hours=24):
                return timezone(-ahead if name[0] == "-" else ahead)
        raise ValueError(f"there is no time zone {name!r}: an offset looks like '+05:30'")
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # the last for what names a folder of zones
        raise ValueError(f"there is no time zone {name!r}: name one such as 'Europe/Berlin'") from None


def expression(text: str) -> str:
    """Check an expression and give it in its plain form: one space between fields, a nickname kept as it is.

    Raises:
        ValueError: It is none; the message says what is wrong.
    """
    plain = " ".join(text[: _LONGEST + 1].split())
    if len(plain) > _LONGEST:
        raise ValueError(f"a cron expression has at most {_LONGEST} characters")
    if plain.startswith("@"):
        plain = plain.lower()
        if plain not in _NICKNAMES:
            raise ValueError(f"there is no {plain!r}; there are: {', '.join(sorted(_NICKNAMES))}")
        return plain
    try:
        CronSim(plain, _ANY_DAY)
    except CronSimError as error:
        raise ValueError(
            f"{plain!r} is no cron expression (minute hour day month weekday, or six fields with seconds before them): "
            f"{error}"
        ) from None
    return plain


class Crontab:
    """An expression in a time zone, able to tell when it is due.

    Args:
        text: The expression, checked before.
        tz: The time zone's name, checked before; ``None`` for UTC.
    """

    __slots__ = ("_fields", "_strict", "_zone")

    def __init__(self, text: str, tz: str | None) -> None:
        self._fields = _NICKNAMES.get(text, text)
        minute, hour = self._fields.split()[-5:-3]
        self._strict = not minute.startswith("*") and not hour.startswith("*")
        self._zone = zone(tz)

    def after(self, moment_ms: int) -> int | None:
        """Give the first instant later than ``moment_ms``; ``None`` if there is none in fifty years."""
        now = moment_ms // 1000
        here = self._wall(now)
        if here is None:
            return None
        wall = here.replace(tzinfo=None, fold=0)
        ahead: int | None = None
        for match in self._matches(wall, reverse=False):
            later = [instant for instant in self._instants(match) if instant > now]
            if later:
                ahead = later[0]
                break
        twice = self._comes_twice(here)
        if not self._strict and not here.fold and twice and not self._before_change(here, ahead, twice):
            # What is left of this hour's first time holds nothing: its second time begins anew.
            for match in self._matches(wall - timedelta(seconds=twice), reverse=False):
                if match > wall:
                    break
                later = [instant for instant in self._instants(match) if instant > now]
                if later:
                    ahead = later[0] if ahead is None else min(ahead, later[0])
                    break
        return None if ahead is None else ahead * 1000

    def until(self, moment_ms: int) -> int | None:
        """Give the last instant not later than ``moment_ms``; ``None`` if there is none in fifty years."""
        now = moment_ms // 1000
        here = self._wall(now)
        if here is None:
            return None
        wall = here.replace(tzinfo=None, fold=0)
        # In an hour's second time, what the wall will show until its end was there before.
        start = wall + timedelta(seconds=1 + (self._comes_twice(here) if here.fold else 0))
        behind: int | None = None
        for match in self._matches(start, reverse=True):
            earlier = [instant for instant in self._instants(match) if instant <= now]
            if earlier:
                behind = earlier[-1] if behind is None else max(behind, earlier[-1])
                if match <= wall:
                    break
        return None if behind is None else behind * 1000

    def _wall(self, instant: int) -> datetime | None:
        try:
            return datetime.fromtimestamp(instant, self._zone)
        except (OverflowError, ValueError, OSError):  # beyond the years that a datetime knows
            return None

    def _matches(self, start: datetime, *, reverse: bool) -> Iterator[datetime]:
        """The wall times that match, on this side of ``start``, as if clocks were never changed."""
        walk = CronSim(self._fields, start, reverse=reverse)
        while True:
            try:
                yield next(walk)
            except (StopIteration, OverflowError, ValueError):  # the latter two at the edges of time
                return

    def _instants(self, match: datetime) -> list[int]:
        """When the wall shows a time and this expression is due: mostly once, else never or twice."""
        try:
            first = int(match.replace(tzinfo=self._zone).timestamp())
            second = int(match.replace(tzinfo=self._zone, fold=1).timestamp())
        except (OverflowError, ValueError):
            return []
        if first == second:
            return [first]
        if first < second:
            return [first] if self._strict else [first, second]
        return [self._jump(second, first)] if self._strict else []

    def _jump(self, before: int, after: int) -> int:
        """The instant between the two at which the clock is changed."""
        old = self._offset(before)
        while after - before > 1:
            middle = (before + after) // 2
            if self._offset(middle) == old:
                before = middle
            else:
                after = middle
        return after

    def _comes_twice(self, here: datetime) -> int:
        """By how many seconds the clock is put back around here; 0 where it is not."""
        once, again = here.replace(fold=0).utcoffset(), here.replace(fold=1).utcoffset()
        assert once is not None
        assert again is not None
        return max(0, int((once - again).total_seconds()))

    def _before_change(self, here: datetime, ahead: int | None, twice: int) -> bool:
        return (
            ahead is not None
            and ahead - here.timestamp() <= twice
            and self._offset(ahead) == here.utcoffset()
        )

    def _offset(self, instant: int) -> timedelta | None:
        return datetime.fromtimestamp(instant, self._zone).utcoffset()
