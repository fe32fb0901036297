"""Many items as one call: how an open group lies in Redis.

It is a delayed job as any other, with a payload of one list, written so that an item can be put in without decoding
anything: the payload's length and the list's are there with four bytes each, whatever they are.
"""

from __future__ import annotations

import attrs
import msgpack

from .codec import delayed_member, encode, packed_id
from .job import Extras
from .keys import DEFAULT_PRIORITY

_pack = msgpack.Packer(use_bin_type=True).pack

#: What an envelope without payload has in its place: an empty byte string.
_NO_PAYLOAD = b"\xc4\x00"

#: How MessagePack begins a byte string, and a list, whose length has four bytes.
_BYTES, _LIST = b"\xc6", b"\xdd"

#: The largest group in bytes: each item that comes writes its group anew.
LARGEST = 256 * 1024


@attrs.frozen
class Mould:
    """A group of no items: the bytes around its payload's length, around its list's length, and behind the list.

    Attributes:
        head: A delayed member up to the payload's length.
        inner: From there to the list's length.
        tail: From the list's end on.
    """

    head: bytes
    inner: bytes
    tail: bytes

    @property
    def size(self) -> int:
        """Bytes of the member before it has items."""
        return len(self.head) + len(self.inner) + len(self.tail) + 8


@attrs.frozen(kw_only=True)
class Gathering:
    """How a task's items become calls.

    Attributes:
        task: The task's name.
        parameter: The parameter that takes the list.
        size: Items that a call takes at most.
        delay_ms: Milliseconds that a group waits for the next item.
        maximum_ms: Milliseconds that it waits in all.
        limit: Bytes of a job at most.
        priority: Which lane the calls go by.
    """

    task: str
    parameter: str
    size: int
    delay_ms: int
    maximum_ms: int
    limit: int
    priority: int = DEFAULT_PRIORITY

    @property
    def most(self) -> int:
        """Bytes of a group, as a delayed member, above which it takes no more items."""
        return min(self.limit, LARGEST) + self._before

    @property
    def _before(self) -> int:
        return 4 + len(self.task.encode())

    def mould(self, job_id: str, created_ms: int, extras: Extras) -> Mould:
        """Write the job that a group begins as."""
        envelope = encode(job_id, b"", created_ms, extras=extras)
        payload = 1 + len(packed_id(job_id))
        assert envelope[payload : payload + len(_NO_PAYLOAD)] == _NO_PAYLOAD
        return Mould(
            delayed_member(self.task, envelope[:payload], self.priority) + _BYTES,
            b"\x81" + _pack(self.parameter) + _LIST,
            envelope[payload + len(_NO_PAYLOAD) :],
        )

    def alone(self, mould: Mould, item: bytes) -> int:
        """Bytes of the job that takes but this item."""
        return mould.size - self._before + len(item)
