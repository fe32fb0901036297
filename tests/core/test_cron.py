"""When cron expressions are due, in zones whose clocks are changed by an hour, half an hour, three, or a whole day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from anyq import Cron

MINUTE = 60_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def shown(cron: Cron, start: str, count: int) -> list[str]:
    """The first times after a moment, as the wall shows them, with the offset."""
    zone = ZoneInfo(cron.tz or "UTC")
    times = []
    moment = ms(start)
    for _ in range(count):
        found = cron.after(moment)
        assert found is not None
        assert found > moment
        moment = found
        times.append(datetime.fromtimestamp(moment / 1000, zone).strftime("%d %H:%M %z"))
    return times


BERLIN, LORD_HOWE = "Europe/Berlin", "Australia/Lord_Howe"

CHANGES = {
    "every hour, in the night that has 25": (
        Cron("0 * * * *", tz=BERLIN),
        "2026-10-25T01:30+02:00",
        ["25 02:00 +0200", "25 02:00 +0100", "25 03:00 +0100"],
    ),
    "every hour, in the night that has 23": (
        Cron("0 * * * *", tz=BERLIN),
        "2027-03-28T00:30+01:00",
        ["28 01:00 +0100", "28 03:00 +0200", "28 04:00 +0200"],
    ),
    "every half hour, in the hour that comes twice": (
        Cron("*/30 * * * *", tz="America/New_York"),
        "2027-11-07T00:45-04:00",
        ["07 01:00 -0400", "07 01:30 -0400", "07 01:00 -0500", "07 01:30 -0500", "07 02:00 -0500"],
    ),
    "a wildcard minute of that one hour": (
        Cron("*/30 2 25 10 *", tz=BERLIN),
        "2026-10-24T12:00+02:00",
        ["25 02:00 +0200", "25 02:30 +0200", "25 02:00 +0100", "25 02:30 +0100", "25 02:00 +0200"],
    ),
    "a time of day that comes twice is due once": (
        Cron("30 2 * * *", tz=BERLIN),
        "2026-10-24T12:00+02:00",
        ["25 02:30 +0200", "26 02:30 +0100", "27 02:30 +0100"],
    ),
    "a time of day that does not come is due at the jump": (
        Cron("30 2 * * *", tz=BERLIN),
        "2027-03-27T12:00+01:00",
        ["28 03:00 +0200", "29 02:30 +0200"],
    ),
    "several that do not come are one": (
        Cron("0,20,40 2,3 * * *", tz=BERLIN),
        "2027-03-27T12:00+01:00",
        ["28 03:00 +0200", "28 03:20 +0200", "28 03:40 +0200", "29 02:00 +0200"],
    ),
    "half an hour that comes twice": (
        Cron("*/15 * * * *", tz=LORD_HOWE),
        "2027-04-04T01:20+11:00",
        [
            "04 01:30 +1100", "04 01:45 +1100", "04 01:30 +1030", "04 01:45 +1030", "04 02:00 +1030",
        ],
    ),
    "every third hour after half an hour was put back": (
        Cron("*/15 */3 * * *", tz=LORD_HOWE),
        "2027-04-04T00:40+11:00",
        ["04 00:45 +1100", "04 03:00 +1030", "04 03:15 +1030"],
    ),
    "a day that did not come": (
        Cron("0 9 * * *", tz="Pacific/Apia"),
        "2011-12-29T12:00-10:00",
        ["31 00:00 +1400", "31 09:00 +1400"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("cron", "start", "times"), CHANGES.values(), ids=CHANGES.keys())
def test_clocks_are_changed(cron: Cron, start: str, times: list[str]) -> None:
    assert shown(cron, start, len(times)) == times


EXPRESSIONS = {
    "0 2 * * *": "2026-11-23T02:00+00:00",
    "@hourly": "2026-11-22T13:00+00:00",
    "@daily": "2026-11-23T00:00+00:00",
    "@weekly": "2026-11-29T00:00+00:00",
    "@monthly": "2026-12-01T00:00+00:00",
    "@yearly": "2027-01-01T00:00+00:00",
    "0 9 * * MON-FRI": "2026-11-23T09:00+00:00",
    "0 9 1 * MON": "2026-11-23T09:00+00:00",  # the first, or a Monday
    "0 9 L * *": "2026-11-30T09:00+00:00",
    "0 9 * * 5L": "2026-11-27T09:00+00:00",
    "0 9 * * MON#2": "2026-12-14T09:00+00:00",
    "*/10 * * * * *": "2026-11-22T12:30:10+00:00",
    "0 0 29 2 *": "2028-02-29T00:00+00:00",
}


@pytest.mark.parametrize(("expression", "due"), EXPRESSIONS.items())
def test_expressions(expression: str, due: str) -> None:
    assert Cron(expression).after(ms("2026-11-22T12:30+00:00")) == ms(due)


def test_an_offset_is_a_zone_too() -> None:
    assert shown(Cron("0 9 * * *"), "2026-11-22T12:00+00:00", 1) == ["23 09:00 +0000"]
    assert Cron("0 9 * * *", tz="+05:30").after(ms("2026-11-22T12:00+00:00")) == ms("2026-11-23T09:00+05:30")
    assert Cron("0 9 * * *", tz="-0330").after(ms("2026-11-22T12:00+00:00")) == ms("2026-11-22T09:00-03:30")


@pytest.mark.parametrize(
    ("expression", "tz", "said"),
    [
        ("61 * * * *", None, "Bad minute"),
        ("* * * *", None, "Wrong number of fields"),
        ("", None, "Wrong number of fields"),
        ("0 0 31 2 *", None, "Bad day-of-month"),
        ("@fortnightly", None, "@daily"),
        ("* " * 200, None, "256 characters"),
        ("0 2 * * *", "Berlin/Europe", "no time zone 'Berlin/Europe'"),
        ("0 2 * * *", "Europe", "no time zone"),
        ("0 2 * * *", "../etc/passwd", "no time zone"),
        ("0 2 * * *", "+25:00", "no time zone"),
        ("0 2 * * *", "+5", r"'\+05:30'"),
        ("0 2 * * *", "", "no time zone"),
    ],
)
def test_what_is_wrong_is_said(expression: str, tz: str | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Cron(expression, tz=tz)


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="expression must be a string"):
        Cron(5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="tz must be a string"):
        Cron("0 2 * * *", tz=ZoneInfo("UTC"))  # type: ignore[arg-type]


def test_what_is_never_due_and_the_edges_of_time_give_nothing() -> None:
    assert Cron("* * */20 * 1L").after(ms("2026-11-22T12:00+00:00")) is None
    assert Cron("0 2 * * *", tz=BERLIN).after(2**53 - 1) is None
    assert Cron("0 2 * * *", tz=BERLIN).until(2**53 - 1) is None
    assert Cron("0 0 1 1 *", tz=BERLIN).after(ms("9999-06-01T00:00+00:00")) is None


@settings(max_examples=200)
@given(
    fields=st.lists(st.text(alphabet="*/,-#L W0123456789MONJAN?@", max_size=6), min_size=3, max_size=7),
    moment=st.integers(0, 2**45),
)
def test_any_text_is_an_expression_or_refused(fields: list[str], moment: int) -> None:
    try:
        cron = Cron(" ".join(fields), tz=BERLIN)
    except ValueError:
        return
    after, until = cron.after(moment), cron.until(moment)
    assert after is None or after > moment
    assert until is None or until <= moment


# -- against a clock that is looked at every minute -------------------------------------------------------------------

ZONES = {  # a day or two before a change
    BERLIN: ["2026-10-24", "2027-03-27"],
    "America/New_York": ["2027-11-06", "2027-03-13"],
    LORD_HOWE: ["2027-04-03", "2027-10-02"],
    "Antarctica/Troll": ["2026-10-24", "2027-03-27"],
    "Antarctica/Casey": ["2010-03-04"],
    "Pacific/Apia": ["2011-12-29"],
    "Asia/Kathmandu": ["2027-01-01"],
}


def watched(cron: Cron, first: int, last: int) -> list[int]:
    """Look at the wall clock every minute: what a cron daemon would start, epoch milliseconds."""
    zone = ZoneInfo(cron.tz or "UTC")
    fields = CronSim(cron.expression, datetime(2000, 1, 1))
    times_of_day = not any(field.startswith("*") for field in cron.expression.split()[:2])

    def matches(wall: datetime) -> bool:
        return (
            wall.minute in fields.minutes
            and wall.hour in fields.hours
            and wall.month in fields.months
            and fields.match_day(wall.date())
        )

    due = []
    before = datetime.fromtimestamp(first / 1000 - 60, zone).replace(tzinfo=None, fold=0)
    for instant in range(first, last, MINUTE):
        here = datetime.fromtimestamp(instant / 1000, zone)
        wall = here.replace(tzinfo=None, fold=0)
        walls = [wall] if not here.fold or not times_of_day else []
        if times_of_day and wall - before > timedelta(minutes=1):
            jumped = (wall - before) // timedelta(minutes=1)
            walls += [before + timedelta(minutes=minute) for minute in range(1, jumped)]
        if any(map(matches, walls)):
            due.append(instant)
        before = wall
    return due


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    return st.one_of(
        st.just("*"),
        st.integers(2, max(2, high // 2)).map(lambda step: f"*/{step}"),
        number.map(str),
        st.tuples(number, number).map(lambda two: f"{min(two)}-{max(two)}"),
        st.lists(number, min_size=2, max_size=4).map(lambda some: ",".join(map(str, some))),
    )


@settings(max_examples=30)
@given(
    place=st.sampled_from([(tz, day) for tz, days in ZONES.items() for day in days]),
    minute=field(0, 59),
    hour=st.one_of(field(0, 4), field(0, 23)),
    weekday=st.sampled_from(["*", "*", "SAT,SUN,MON"]),
)
def test_after_and_until_find_what_a_watched_clock_shows(
    place: tuple[str, str], minute: str, hour: str, weekday: str
) -> None:
    tz, day = place
    cron = Cron(f"{minute} {hour} * * {weekday}", tz=tz)
    first = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() * 1000)
    last = first + 2 * 24 * 60 * MINUTE
    expected = watched(cron, first, last)
    forth, moment = list[int](), first - 1
    while (found := cron.after(moment)) is not None and found < last:
        forth.append(found)
        moment = found
    assert forth == expected
    back, moment = list[int](), last - 1
    while (found := cron.until(moment)) is not None and found >= first:
        back.append(found)
        moment = found - 1
    assert back[::-1] == expected
    for one, two in pairwise(expected[:20]):  # and from in between
        assert cron.after(one + 1) == two
        assert cron.until(two - 1) == one
