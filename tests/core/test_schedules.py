"""What a schedule is, when it makes jobs, and chasquimq's bytes."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from itertools import islice
from typing import Any

import attrs
import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyq import Backoff, Cron, Every, Missed
from anyq._core.codec import decode as decode_envelope
from anyq._core.job import Extras, Override
from anyq._core.schedules import Firing, Spec, first, judge, milliseconds, resumed, upcoming
from anyq._core.specs import decode, encode, token
from anyq._core.values import Undecodable

BODY = bytes.fromhex("81a16b01")  # {"k": 1}
DAY = 86_400_000
SKIP, ONCE = Missed.skip(), Missed.once()


def spec(when: Cron | Every | None = None, **options: Any) -> Spec:
    return Spec(**{"name": "tick", "task": "tick", "when": when or Every(1), "body": BODY, **options})


# -- what a user says -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [0, -1, 0.0001, float("inf"), float("nan"), 2**60])
def test_an_interval_out_of_range_is_refused(interval: float) -> None:
    with pytest.raises(ValueError, match="interval"):
        Every(interval)


@pytest.mark.parametrize("interval", ["60", None, True])
def test_an_interval_that_is_no_duration_is_refused(interval: Any) -> None:
    with pytest.raises(TypeError, match="interval"):
        Every(interval)


def test_an_interval_is_seconds_or_a_timedelta() -> None:
    assert Every(timedelta(minutes=1)) == Every(60)
    assert Every(0.0015).milliseconds == 2


@pytest.mark.parametrize("most", [0, -1, 1001])
def test_how_many_are_made_up_is_bounded(most: int) -> None:
    with pytest.raises(ValueError, match="most"):
        Missed.all(most)


def test_a_grace_is_no_instant() -> None:
    with pytest.raises(ValueError, match="grace"):
        Missed.skip(grace=0.5)


def test_what_is_said_shows_itself() -> None:
    assert repr(Missed.all(3)) == "Missed.all(3)"
    assert repr(Missed.once()) == "Missed.once()"
    assert repr(Missed.skip()) == "Missed.skip(grace=60.0)"
    assert "body" not in repr(spec()), "arguments are secret"


# -- the first planned time -------------------------------------------------------------------------------------------

NOW = 1_000_000_000_000  # 2001-09-09 01:46:40 UTC

FIRST: dict[str, tuple[Spec, int | None]] = {
    "an interval from now": (spec(Every(60)), NOW + 60_000),
    "an interval counts from its start": (spec(Every(60), start_ms=NOW + 5), NOW + 5),
    "a start that was": (spec(Every(60), start_ms=NOW - 90_000), NOW + 30_000),
    "a start that is now": (spec(Every(60), start_ms=NOW), NOW + 60_000),
    "cron": (spec(Cron("0 2 * * *")), NOW + 800_000),
    "cron from its start, which counts": (spec(Cron("0 2 * * *"), start_ms=NOW + 800_000), NOW + 800_000),
    "cron after its start": (spec(Cron("0 2 * * *"), start_ms=NOW + 800_001), NOW + 800_000 + DAY),
    "an end before": (spec(Every(60), end_ms=NOW + 59_999), None),
    "an end at that very moment": (spec(Every(60), end_ms=NOW + 60_000), NOW + 60_000),
    "never": (spec(Cron("* * */20 * 1L")), None),
}


@pytest.mark.parametrize(("one", "planned"), FIRST.values(), ids=FIRST.keys())
def test_the_first_time(one: Spec, planned: int | None) -> None:
    assert first(one, NOW) == planned


# -- what is due ------------------------------------------------------------------------------------------------------

P = NOW
UNIQUE = Extras(unique="key")
LATE = NOW + 5500  # five more have passed

DUE: dict[str, tuple[Spec, int, int, Firing]] = {  # spec, now, fired, what is to be done
    "on time": (spec(), P, 0, Firing((P,), P + 1000)),
    "a little late": (spec(), P + 999, 0, Firing((P,), P + 1000)),
    "missed, once": (spec(), LATE, 0, Firing((P + 5000,), P + 6000)),
    "missed, skip, within the grace": (spec(missed=SKIP), LATE, 0, Firing((P + 5000,), P + 6000)),
    "missed, skip": (
        spec(Every(60), missed=Missed.skip(grace=5)),
        P + 5001,
        0,
        Firing((), P + 60_000),
    ),
    "missed, all": (
        spec(missed=Missed.all(100)),
        LATE,
        0,
        Firing((P, P + 1000, P + 2000, P + 3000, P + 4000, P + 5000), P + 6000),
    ),
    "missed, the latest of all": (
        spec(missed=Missed.all(2)),
        LATE,
        0,
        Firing((P + 4000, P + 5000), P + 6000),
    ),
    "shorter than any look": (
        spec(Every(0.001), missed=Missed.all(3)),
        P + 2,
        0,
        Firing((P, P + 1, P + 2), P + 3),
    ),
    "an hour late, a short interval, skip": (
        spec(Every(0.1), missed=SKIP),
        P + 3_600_050,
        0,
        Firing((P + 3_600_000,), P + 3_600_100),
    ),
    "the limit": (spec(limit=3), P, 2, Firing((P,), None)),
    "the limit in the middle of what was missed": (
        spec(missed=Missed.all(10), limit=3),
        LATE,
        1,
        Firing((P, P + 1000), None),
    ),
    "beyond the limit": (spec(limit=3), P, 3, Firing((), None)),
    "skipping uses up no limit": (
        spec(Every(60), missed=Missed.skip(grace=5), limit=1),
        P + 5001,
        0,
        Firing((), P + 60_000),
    ),
    "with a unique key": (spec(extras=UNIQUE), P, 0, Firing((P,), P + 1000, P + 1000)),
    "with a unique key, of several the latest": (
        spec(missed=Missed.all(10), extras=UNIQUE),
        LATE,
        0,
        Firing((P + 5000,), P + 6000, P + 6000),
    ),
    "with a unique key, the limit is of runs that are made": (
        spec(limit=3, extras=UNIQUE),
        P,
        2,
        Firing((P,), None, P + 1000),
    ),
    "with a unique key, the end is the end": (spec(end_ms=P + 999, extras=UNIQUE), P, 0, Firing((P,), None)),
    "the end": (spec(end_ms=P + 999), P, 0, Firing((P,), None)),
    "the end is a planned time": (spec(end_ms=P + 1000), P, 0, Firing((P,), P + 1000)),
    "after the end": (spec(end_ms=P - 1), P, 0, Firing((), None)),
    "the end was before the latest": (
        spec(end_ms=P + 2500, missed=Missed.all(10)),
        LATE,
        0,
        Firing((P, P + 1000, P + 2000), None),
    ),
    "cron, on time": (spec(Cron("46 * * * *")), P, 0, Firing((P,), P - 40_000 + 3_600_000)),
    "cron, once": (
        spec(Cron("* * * * *")),
        P + 200_000,
        0,
        Firing((P + 200_000,), P + 260_000),
    ),
    "cron, all": (
        spec(Cron("* * * * *"), missed=Missed.all(100)),
        P + 199_999,
        0,
        Firing((P, P + 20_000, P + 80_000, P + 140_000), P + 200_000),
    ),
    "cron, the latest of all": (
        spec(Cron("* * * * *"), missed=Missed.all(2)),
        P + 199_999,
        0,
        Firing((P + 80_000, P + 140_000), P + 200_000),
    ),
}


UPCOMING: dict[str, tuple[Spec, int, int, list[int]]] = {  # spec, now, fired, what is started
    "on time": (spec(), P - 1, 0, [P, P + 1000, P + 2000, P + 3000]),
    "the latest of what was missed": (spec(), LATE, 0, [P + 5000, P + 6000, P + 7000, P + 8000]),
    "each that was missed": (spec(missed=Missed.all(10)), P + 1500, 0, [P, P + 1000, P + 2000, P + 3000]),
    "none that was missed": (
        spec(Every(60), missed=Missed.skip(grace=5)),
        P + 9000,
        0,
        [P + 60_000, P + 120_000, P + 180_000, P + 240_000],
    ),
    "the limit": (spec(limit=3), P - 1, 1, [P, P + 1000]),
    "the limit, among what was missed": (spec(missed=Missed.all(10), limit=3), LATE, 1, [P, P + 1000]),
    "beyond the limit": (spec(limit=3), P - 1, 3, []),
    "the end": (spec(end_ms=P + 1500), P - 1, 0, [P, P + 1000]),
    "cron": (
        spec(Cron("46 * * * *")),
        P - 1,
        0,
        [P, P - 40_000 + 3_600_000, P - 40_000 + 7_200_000, P - 40_000 + 10_800_000],
    ),
}


@pytest.mark.parametrize(("one", "now", "fired", "times"), UPCOMING.values(), ids=UPCOMING.keys())
def test_what_is_started_next(one: Spec, now: int, fired: int, times: list[int]) -> None:
    assert list(islice(upcoming(one, P, now, fired), 4)) == times


@pytest.mark.parametrize(("one", "now", "fired", "firing"), DUE.values(), ids=DUE.keys())
def test_what_is_due(one: Spec, now: int, fired: int, firing: Firing) -> None:
    assert judge(one, P, now, fired) == firing


@given(
    step=st.integers(1, 5000),
    passed=st.integers(0, 100_000),
    most=st.integers(1, 1000),
    at_once=st.integers(1, 7),
)
def test_what_was_missed_comes_in_parts_each_once_and_in_order(
    step: int, passed: int, most: int, at_once: int
) -> None:
    one = spec(Every(step / 1000), missed=Missed.all(most))
    now, planned, came = P + passed, P, list[int]()
    while planned <= now:
        firing = judge(one, planned, now, len(came), at_once)
        assert 1 <= len(firing.times) <= at_once
        came += firing.times
        assert firing.next_ms is not None
        assert firing.next_ms > firing.times[-1]
        planned = firing.next_ms
    grid = list(range(P, now + 1, step))
    assert came == grid[-most:]
    assert planned == grid[-1] + step


@given(
    text=st.sampled_from(["* * * * *", "*/7 * * * *", "30 2 * * *", "0 */3 * * *"]),
    begin=st.integers(0, 3600 * 24 * 365),
    passed=st.integers(0, 3600 * 24),
    most=st.integers(1, 50),
)
def test_cron_that_was_missed_comes_as_it_was_planned(text: str, begin: int, passed: int, most: int) -> None:
    cron = Cron(text, tz="Europe/Berlin")
    planned = cron.after(NOW + begin * 1000)
    assert planned is not None
    now, grid = planned + passed * 1000, [planned]
    while (following := cron.after(grid[-1])) is not None and following <= now:
        grid.append(following)
    firing = judge(spec(cron, missed=Missed.all(most)), planned, now, 0)
    assert list(firing.times) == grid[-most:]
    assert firing.next_ms == following
    assert judge(spec(cron, missed=ONCE), planned, now, 0) == Firing((grid[-1],), following)


def test_after_a_pause_an_interval_goes_on_in_step() -> None:
    assert resumed(spec(), P, P + 5500) == P + 6000
    assert resumed(spec(), P, P - 1) == P
    assert resumed(spec(), P, P) == P + 1000
    assert resumed(spec(Cron("0 2 * * *")), P, P + DAY) == NOW + 800_000 + DAY
    assert resumed(spec(end_ms=P + 5000), P, P + 5500) is None


# -- the wire ---------------------------------------------------------------------------------------------------------

TICK = Spec(name="tick::every:60000", task="tick", when=Every(60), body=BODY, missed=SKIP)
PAYLOAD = bytes.fromhex("c404") + BODY
FIELDS = ["tick::every:60000", "tick", {"Every": [60000]}, PAYLOAD, None, None, None, 0]

HEAD = "b1 7469636b3a3a65766572793a3630303030 a4 7469636b 81 "  # tick::every:60000, tick
EVERY = "a5 4576657279 91 cdea60 "
CRON = "a4 43726f6e 92 a9 302039202a202a202a "  # 0 9 * * *
REST = "c406 c404 81a16b01 c0 c0 c0 00"

WRITTEN: dict[str, tuple[Spec, str]] = {  # bytes that chasquimq 1.3.0 wrote
    "every": (TICK, f"98 {HEAD} {EVERY} {REST}"),
    "cron": (
        attrs.evolve(TICK, when=Cron("0 9 * * *", tz="America/New_York")),
        f"98 {HEAD} {CRON} b0 416d65726963612f4e65775f596f726b {REST}",
    ),
    "cron in no zone": (attrs.evolve(TICK, when=Cron("0 9 * * *")), f"98 {HEAD} {CRON} c0 {REST}"),
    "fire once": (attrs.evolve(TICK, missed=ONCE), f"99 {HEAD} {EVERY} {REST} a8 466972654f6e6365"),
    "fire all": (
        attrs.evolve(TICK, missed=Missed.all(12), limit=5, start_ms=1, end_ms=2),
        f"99 {HEAD} {EVERY} c406 c404 81a16b01 05 01 02 00 81 a7 46697265416c6c 91 0c",
    ),
}


@pytest.mark.parametrize(("one", "written"), WRITTEN.values(), ids=WRITTEN.keys())
def test_a_definition_is_written_as_chasquimq_does(one: Spec, written: str) -> None:
    assert encode(one) == (bytes.fromhex(written), b"")
    assert decode(bytes.fromhex(written), b"") == one


FOREIGN: dict[str, tuple[Any, Spec]] = {
    "without the counter": (FIELDS[:7], TICK),
    "a newer one, with its default": ([*FIELDS, "Skip"], TICK),
    "a newer one, with a retry override": (
        [*FIELDS, "Skip", [5, None]],
        attrs.evolve(TICK, override=Override(5)),
    ),
    "a map": (
        {
            "key": "tick::every:60000",
            "job_name": "tick",
            "pattern": {"Every": {"interval_ms": 60000}},
            "payload": PAYLOAD,
            "limit": 3,
            "more": 1,
        },
        attrs.evolve(TICK, limit=3),
    ),
    "a payload as numbers": ([*FIELDS[:3], list(PAYLOAD), *FIELDS[4:]], TICK),
    "more to make up than AnyQ does": (
        [*FIELDS, {"FireAll": [10**6]}],
        attrs.evolve(TICK, missed=Missed.all(1000)),
    ),
}


@pytest.mark.parametrize(("fields", "one"), FOREIGN.values(), ids=FOREIGN.keys())
def test_what_other_programs_write_is_read(fields: Any, one: Spec) -> None:
    assert decode(msgpack.packb(fields), b"") == one


UNREADABLE: dict[str, Any] = {
    "no list": 5,
    "too short": FIELDS[:6],
    "too long": [*FIELDS, "Skip", None, None],
    "no name": [None, *FIELDS[1:]],
    "no pattern": [*FIELDS[:2], {"Never": []}, *FIELDS[3:]],
    "an interval of nothing": [*FIELDS[:2], {"Every": [0]}, *FIELDS[3:]],
    "an expression with a year": [*FIELDS[:2], {"Cron": ["0 0 9 * * * 2027", None]}, *FIELDS[3:]],
    "a zone that is none": [*FIELDS[:2], {"Cron": ["0 9 * * *", "Mars"]}, *FIELDS[3:]],
    "a payload that is not bytes inside of bytes": [*FIELDS[:3], BODY, *FIELDS[4:]],
    "a payload of text": [*FIELDS[:3], "x", *FIELDS[4:]],
    "numbers that are no bytes": [*FIELDS[:3], [1000], *FIELDS[4:]],
    "a limit that is none": [*FIELDS[:4], -1, *FIELDS[5:]],
    "unknown missed fires": [*FIELDS, "FireTwice"],
    "none of all": [*FIELDS, {"FireAll": [0]}],
    "a retry override that is none": [*FIELDS, "Skip", [1]],
}


@pytest.mark.parametrize("fields", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_anyq_does_not_understand_is_said(fields: Any) -> None:
    with pytest.raises(Undecodable):
        decode(msgpack.packb(fields), b"")


@given(written=st.binary(max_size=200), own=st.binary(max_size=50))
def test_any_bytes_are_a_definition_or_undecodable(written: bytes, own: bytes) -> None:
    for definition in (written, encode(TICK)[0]):
        with suppress(Undecodable):
            decode(definition, own)


OWN = attrs.evolve(
    TICK,
    missed=Missed.skip(grace=5),
    jitter_ms=1500,
    deadline_ms=60_000,
    declared=True,
    override=Override(7, Backoff.exponential(1, maximum=30)),
    extras=Extras(timeout=5.0, result_ttl=60.0, full_jitter=True, unique="key"),
)


def test_what_only_anyq_knows_lies_beside_and_comes_back() -> None:
    written, own = encode(OWN)
    assert written == encode(TICK)[0]
    assert decode(written, own) == OWN


def test_what_lies_beside_is_void_when_a_foreign_program_wrote_the_definition_anew() -> None:
    _, own = encode(OWN)
    other = attrs.evolve(TICK, limit=3)
    assert decode(encode(other)[0], own) == other


def test_a_token_names_one_definition() -> None:
    assert token(*encode(OWN)) != token(*encode(TICK))
    assert token(*encode(OWN)) == token(*encode(attrs.evolve(OWN)))


def test_the_job_that_is_made_knows_its_planned_time_and_how_it_runs() -> None:
    job_id, body, created, failed, override, extras = decode_envelope(OWN.envelope("id", P, P + 7))
    assert (job_id, body, created, failed) == ("id", BODY, P + 7, 0)
    assert override == OWN.override
    assert extras == attrs.evolve(OWN.extras, scheduled=P, deadline_ms=P + 60_000)


def test_milliseconds_stay_within_what_every_language_counts() -> None:
    assert milliseconds("jitter", 1.5) == 1500
    assert milliseconds("jitter", timedelta.max) <= 2**53
