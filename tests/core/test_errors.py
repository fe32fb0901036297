"""Errors that several callers are told of."""

from __future__ import annotations

import traceback

import pytest
from redis.exceptions import ResponseError

from anyq import ConnectionLost, QueueFull
from anyq.errors import JobFailed, another


def raised(error: Exception, cause: Exception | None = None) -> Exception:
    """As it is after it was raised."""
    try:
        raise error from cause
    except type(error) as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        ConnectionLost("it broke", sent=False),
        QueueFull("work", 10),
        JobFailed("one", reason="expired", type="", message="", traceback=""),
        ResponseError("WRONGTYPE of another type"),
        OSError(2, "not there"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_another_one_says_the_same_and_is_raised_alone(error: Exception) -> None:
    cause = KeyError("why")
    error = raised(error, cause)
    error.add_note("seen")
    frames = len(traceback.extract_tb(error.__traceback__))
    for _ in range(2):
        one = raised(copy := another(error), cause)
        assert one is copy is not error
        assert (type(one), str(one), one.args, one.__cause__) == (type(error), str(error), error.args, cause)
        assert one.__dict__ == error.__dict__
        assert len(traceback.extract_tb(one.__traceback__)) == frames + 1
        one.add_note("by one caller")
    assert len(traceback.extract_tb(error.__traceback__)) == frames
    assert error.__notes__ == ["seen"]


def test_what_cannot_be_made_without_its_constructor_is_given_as_it_is() -> None:
    error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no text")
    assert another(error) is error
