"""Patience has an end, whatever anybody asks for."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest

from anyq._redis.settings import TransportSettings


@pytest.mark.parametrize(
    "field", ["connect_timeout", "reply_timeout", "backoff_base", "backoff_maximum", "ping_interval"]
)
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_no_patience_is_endless_or_empty(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        TransportSettings(**cast(Any, {field: value}))


@pytest.mark.parametrize("value", [None, "5", True])
def test_patience_is_a_length_of_time(value: Any) -> None:
    with pytest.raises(TypeError, match="reply_timeout"):
        TransportSettings(reply_timeout=value)


def test_a_timedelta_is_a_length_of_time() -> None:
    assert TransportSettings(reply_timeout=timedelta(seconds=2)).reply_timeout == 2.0  # type: ignore[arg-type]


def test_the_pauses_grow_and_do_not_shrink() -> None:
    with pytest.raises(ValueError, match="backoff_maximum"):
        TransportSettings(backoff_base=1, backoff_maximum=0.5)
