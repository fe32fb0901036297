"""How patient the transport is: one frozen record, checked when it is made.

The rule here: every wait has an end. There is no value that means "for ever".
"""

from __future__ import annotations

from typing import Any

import attrs

from ..settings import seconds


def _patience(default: float) -> Any:
    """A field that holds a positive number of seconds, whatever kind of duration it was given."""

    def convert(value: object, _instance: object, field: attrs.Attribute[float]) -> float:
        return seconds(field.name, value, zero=False)

    return attrs.field(default=default, converter=attrs.Converter(convert, takes_self=True, takes_field=True))


@attrs.frozen(kw_only=True)
class TransportSettings:
    """Patience of a connection, in seconds."""

    connect_timeout: float = _patience(5.0)
    """For one try to connect, handshake included."""

    reply_timeout: float = _patience(5.0)
    """For a reply once its command was sent, and, before that, for a connection to send it on."""

    connection_patience: float = _patience(5.0)
    """For that connection at the longest, where whoever asks wants to know sooner that there is none."""

    backoff_base: float = _patience(0.05)
    """The first pause between two tries to connect is somewhere between nothing and this (full jitter)."""

    backoff_maximum: float = _patience(2.0)
    """No pause between two tries is longer than this, however many failed."""

    ping_interval: float = _patience(5.0)
    """How often a :class:`~anyq._redis.subscriber.Subscriber` asks whether its link is alive."""

    def __attrs_post_init__(self) -> None:
        if self.backoff_maximum < self.backoff_base:
            raise ValueError(
                f"backoff_maximum ({self.backoff_maximum:g} s) must not be below backoff_base ({self.backoff_base:g} s)"
            )
