"""A job that was lost with two workers, or is on its last run after a loss, may be what kills them."""

from __future__ import annotations

import pytest

from anyq._core.codec import decode, encode
from anyq._core.entry import Spoiled, admit
from anyq._core.job import Extras, Job, Override
from anyq._core.outcome import is_suspect, put_off


def job_of(attempt: int, lost: int) -> Job:
    return Job("q", "id", "task", attempt, 0, Override(), Extras(), b"", b"lane", b"1-1", lost)


@pytest.mark.parametrize(
    ("attempt", "lost", "attempts", "suspect"),
    [
        (1, 0, 5, False),
        (5, 0, 5, False),  # failed four times, and no worker came to harm
        (2, 1, 5, False),  # any worker can be killed once
        (3, 2, 5, True),
        (2, 1, 2, True),  # its last run
        (5, 1, 5, True),
    ],
)
def test_a_suspect_is_known_by_its_losses(attempt: int, lost: int, attempts: int, suspect: bool) -> None:
    assert is_suspect(job_of(attempt, lost), attempts) is suspect


def test_a_suspect_that_waits_for_its_turn_uses_up_no_run() -> None:
    waiting = put_off(job_of(3, 2), 0.25)
    assert (waiting.failed, waiting.delay, waiting.quiet, waiting.error) == (2, 0.75, True, None)


def test_losses_travel_with_the_envelope_and_are_not_counted_twice() -> None:
    envelope = encode("id", b"\x80", 1, 3, extras=Extras(lost=2))
    assert decode(envelope)[5].lost == 2
    again = admit("q", b"lane", b"1-1", [b"d", envelope, b"n", b"task", b"l", b"1"], 1000, None)
    assert not isinstance(again, Spoiled)
    assert (again.attempt, again.lost) == (5, 3)  # three failed or lost before, one lost since, and this one
