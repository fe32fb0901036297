"""An event is read whoever wrote it, and whatever it is."""

from __future__ import annotations

from datetime import UTC, datetime

import hiredis
from hypothesis import given
from hypothesis import strategies as st

from anyq import Event
from anyq._core import notices
from anyq._core.events import Wanted, pairs, read
from anyq._core.job import Extras, Job, Override

AT = datetime(2026, 11, 22, 20, tzinfo=UTC)
MS = int(AT.timestamp() * 1000)


def written(notice: notices.Notice) -> dict[bytes, bytes]:
    """As it lies in the stream."""
    count, words = notice
    reader = hiredis.Reader()
    reader.feed(f"{count}{notices.begin(b'events')}{words}".encode("latin-1"))
    return pairs(reader.gets()[3:])


def test_what_a_worker_tells_is_read_as_it_was_told() -> None:
    job = Job("q", "j", "welcome", 2, 0, Override(), Extras(), b"", b"lane", b"1-1", 0)
    job.seconds = 0.0015
    event = read(b"7-1", written(notices.completed(job, MS)))
    assert event == Event(
        id="7-1", kind="completed", job_id="j", task="welcome", at=AT, attempt=2, fields={"duration_us": 1500},
    )  # fmt: skip
    told = read(b"7-2", written(notices.progress(job, 3, 10.5, "three", MS)))
    assert (told.kind, told.fields) == ("progress", {"current": 3, "total": 10.5, "message": "three"})
    drained = read(b"7-3", written(notices.drained(MS)))
    assert (drained.kind, drained.job_id, drained.task, drained.attempt) == ("drained", "", "", None)
    assert repr(event) == "<Event 7-1: completed of job 'j', attempt=2, duration_us=1500>"


def test_numbers_that_are_none_and_fields_that_nobody_knows_are_text() -> None:
    event = read(
        b"86400000-0",
        {
            b"e": b"stalled",
            b"ts": b"soon",
            b"attempt": b"-1",
            b"duration_us": b"1e3",
            b"total": b"nan",
            b"x": b"\xff",
        },
    )
    assert (event.kind, event.attempt, event.job_id) == ("stalled", None, "")
    assert event.at == datetime(1970, 1, 2, tzinfo=UTC), "what the server's clock said"
    assert event.fields == {"duration_us": "1e3", "total": "nan", "x": "\N{REPLACEMENT CHARACTER}"}


@given(
    st.integers(0, 2**64 - 1),
    st.dictionaries(
        st.sampled_from([b"e", b"id", b"ts", b"n", b"attempt", b"duration_us", b"current"]) | st.binary(),
        st.binary()
        | st.integers().map(lambda number: str(number).encode())
        | st.floats().map(lambda x: repr(x).encode()),
    ),
)
def test_no_entry_is_an_error(milliseconds: int, fields: dict[bytes, bytes]) -> None:
    event = read(b"%d-0" % milliseconds, fields)
    assert event.at.tzinfo is not None
    assert repr(event)


def test_wanted_are_those_of_the_kinds_and_of_the_job() -> None:
    done = {b"e": b"completed", b"id": b"j"}
    assert Wanted(frozenset(), None).has(done)
    assert Wanted(frozenset({b"completed", b"dlq"}), b"j").has(done)
    assert not Wanted(frozenset({b"dlq"}), b"j").has(done)
    assert not Wanted(frozenset(), b"k").has(done)
    assert not Wanted(frozenset({b"dlq"}), None).has({})
