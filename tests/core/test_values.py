"""What may travel, and what hostile bytes may cost: refused with its path, or `Undecodable`, and neither takes long."""

from __future__ import annotations

import enum
import time
import tracemalloc
from collections import OrderedDict, namedtuple
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyq._core.values import DEPTH, Undecodable, pack, require_depth, unpack, unpack_first
from anyq.errors import PayloadRefused

PAYLOAD = "the payload of 'welcome'"


class Number(enum.IntEnum):
    ONE = 1


class Word(enum.StrEnum):
    YES = "yes"


Point = namedtuple("Point", "x y")  # noqa: PYI024 - the one without annotations


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def nested_maps(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


# -- out --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), PAYLOAD),
        ({"to": {1, 2}}, f"{PAYLOAD}.to"),
        ({"to": [1, {"when": datetime.now(UTC)}]}, f"{PAYLOAD}.to[1]['when']"),
        ({"price": Decimal(1)}, f"{PAYLOAD}.price"),
        ({"a": {"b": {"c": 1j}}}, f"{PAYLOAD}.a['b']['c']"),
        ([0, [1, (2, b"", object())]], f"{PAYLOAD}[1][1][2]"),
        ({"n": 2**64}, f"{PAYLOAD}.n is an integer of 65 bits"),
        ({"n": -(2**63) - 1}, f"{PAYLOAD}.n is an integer of 64 bits"),
        (2**70, f"{PAYLOAD} is an integer of 71 bits"),
        ({"text": "\ud800"}, f"{PAYLOAD}.text is not valid Unicode"),
        (
            {"texts": ["", "ab\udfff"]},
            f"{PAYLOAD}.texts[1] is not valid Unicode: surrogates not allowed at 2",
        ),
        ({"\ud800": 1}, f"{PAYLOAD} is not valid Unicode"),
        ({"a": {1: 2}}, f"{PAYLOAD}.a has the key 1 (int)"),
        ({1: 2}, f"{PAYLOAD} has the key 1 (int)"),
        ({b"a": 2}, f"{PAYLOAD} has the key b'a' (bytes)"),
        ({"a": [{None: 2}]}, f"{PAYLOAD}.a[0] has the key None (NoneType)"),
        ({"a": {(1, 2): 2}}, f"{PAYLOAD}.a has the key (1, 2) (tuple)"),
    ],
)
def test_what_cannot_travel_is_refused_with_its_path(value: Any, path: str) -> None:
    with pytest.raises(PayloadRefused) as caught:
        pack(value, what=PAYLOAD)
    assert str(caught.value).startswith(path)


def test_a_value_may_nest_as_deeply_as_it_can_be_read_again() -> None:
    for shape in (nested, nested_maps):
        assert unpack(pack(shape(DEPTH), what=PAYLOAD)) == shape(DEPTH)
        with pytest.raises(PayloadRefused, match=f"nested more than {DEPTH} levels deep"):
            pack(shape(DEPTH + 1), what=PAYLOAD)


def test_a_value_that_holds_itself_is_refused() -> None:
    circle: list[Any] = []
    circle.append({"again": circle})
    with pytest.raises(PayloadRefused, match="levels deep") as caught:
        pack(circle, what=PAYLOAD)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("value", "comes_back_as"),
    [
        ((1, (2,)), [1, [2]]),
        (bytearray(b"x"), b"x"),
        ([memoryview(b"y")], [b"y"]),
        ({"a": Number.ONE, Word.YES: Word.YES}, {"a": 1, "yes": "yes"}),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (Point(1, 2), [1, 2]),
        (True, True),
        (2**64 - 1, 2**64 - 1),
        (-(2**63), -(2**63)),
        (float("inf"), float("inf")),
        ("", ""),
        (None, None),
    ],
)
def test_what_is_as_good_as_a_plain_value_travels(value: Any, comes_back_as: Any) -> None:
    back = unpack(pack(value, what=PAYLOAD))
    assert back == comes_back_as
    assert type(back) is type(comes_back_as)


# -- in ---------------------------------------------------------------------------------------------------------------

HOSTILE = {
    "nothing": b"",
    "the reserved byte": b"\xc1",
    "a huge array": b"\xdd\xff\xff\xff\xff",
    "a huge map": b"\xdf\xff\xff\xff\xff",
    "a huge string": b"\xdb\xff\xff\xff\xff",
    "a huge byte string": b"\xc6\xff\xff\xff\xff",
    "a huge extension": b"\xc9\xff\xff\xff\xff\x01",
    "arrays that promise more than there is": b"\xdd\x00\x00\xff\xff" * 13_000,
    "arrays in arrays": b"\x91" * 1_000_000,
    "maps in maps": b"\x81\xa1a" * 300_000,
    "as deep as the decoder goes": b"\x91" * 1000 + b"\xc0",
    "one level too deep": b"\x91" * (DEPTH + 1) + b"\xc0",
    "one level too deep, in maps": b"\x81\xa1a" * (DEPTH + 1) + b"\xc0",
    "many deep branches": b"\xdc\x03\xe8" + (b"\x91" * 70 + b"\xc0") * 1000,
    "an extension": b"\xd4\x05\x00",
    "an extension of no length": b"\xc7\x00\x05",
    "a timestamp": b"\xd6\xff\x00\x00\x00\x00",
    "a timestamp of no length": b"\xc7\x00\xff",
    "a timestamp in a map": b"\x81\xa1a\xd6\xff\x00\x00\x00\x00",
    "bad UTF-8": b"\xa2\xff\xfe",
    "a surrogate": b"\xa3\xed\xa0\x80",
    "an overlong slash": b"\xa2\xc0\xaf",
    "bad UTF-8 as a key": b"\x81\xa1\xff\x01",
    "a key that is an int": b"\x81\x01\x01",
    "a key that is nil": b"\x81\xc0\x01",
    "a key that is a float": b"\x81\xcb" + bytes(8) + b"\x01",
    "a key that is an array": b"\x81\x90\x01",
    "a key that is a map": b"\x81\x80\x01",
    "a key that is bytes": b"\x81\xc4\x00\x01",
    "a key that is bytes, far inside": b"\x81\xa1a\x92\x01\x81\xa1b\x81\xc5\x00\x01c\x01",
    "a key that is many bytes": b"\x81\xa1a\x81\xc6\x00\x00\x00\x01c\x01",
    "a truncated string": b"\xa5abc",
    "a truncated number": b"\xcf\x00",
    "a map with half a pair": b"\x81\xa1a",
    "two values": b"\x01\x02",
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_bytes_are_undecodable_at_once_and_in_little_memory(case: str) -> None:
    data = HOSTILE[case]
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(Undecodable) as caught:
        unpack(data)
    took = time.process_time() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(str(caught.value)) < 300
    assert took < 2.0
    assert peak < 1_000_000 + 100 * len(data)


def test_a_flat_value_of_a_megabyte_is_no_attack() -> None:
    value = {"rows": [{"a": index, "b": "x"} for index in range(80_000)]}
    assert unpack(pack(value, what=PAYLOAD)) == value


def test_what_follows_the_first_value_is_given_back() -> None:
    assert unpack_first(b"\x91\x01rest") == ([1], b"rest")
    assert unpack_first(b"\x01") == (1, b"")


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_the_depth_can_be_chosen(depth: int) -> None:
    data = msgpack.packb(nested(depth))
    assert unpack(data, depth=depth) == nested(depth)
    with pytest.raises(Undecodable):
        unpack(msgpack.packb(nested(depth + 1)), depth=depth)


# -- there and back ---------------------------------------------------------------------------------------------------

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=20)
)
values = st.recursive(
    scalars,
    lambda parts: st.lists(parts, max_size=5) | st.dictionaries(st.text(max_size=5), parts, max_size=5),
    max_leaves=30,
)


@given(values)
def test_a_plain_value_comes_back_as_it_went(value: Any) -> None:
    assert unpack(pack(value, what=PAYLOAD)) == value


anything = st.recursive(
    scalars
    | st.integers()
    | st.complex_numbers()
    | st.decimals()
    | st.datetimes()
    | st.sets(st.integers(), max_size=2)
    | st.just("\ud800"),
    lambda parts: (
        st.lists(parts, max_size=3) | st.tuples(parts) | st.dictionaries(scalars, parts, max_size=3)
    ),
    max_leaves=10,
)


@given(anything)
def test_any_value_is_refused_or_can_be_read(value: Any) -> None:
    try:
        data = pack(value, what=PAYLOAD)
    except PayloadRefused:
        return
    unpack(data)


@given(st.binary(max_size=500))
def test_any_bytes_are_a_value_or_undecodable(data: bytes) -> None:
    try:
        value, rest = unpack_first(data)
        require_depth(value)
    except Undecodable:
        return
    repr(value)
    assert data.endswith(rest)
