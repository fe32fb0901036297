"""What the relocators share."""

from __future__ import annotations

from anyq._core.job import ordinary
from anyq._services.relocator import _by_lane


def test_a_batch_is_settled_lane_by_lane_and_each_lane_in_its_order() -> None:
    a, b, c = (ordinary("q", name, "t", 1, 0, b"", b"high", name.encode(), None) for name in "abc")
    x, y = (ordinary("q", name, "t", 1, 0, b"", b"low", name.encode(), None) for name in "xy")
    assert dict(_by_lane([a, x, b, y, c])) == {b"high": [a, b, c], b"low": [x, y]}
    assert dict(_by_lane([x, y])) == {b"low": [x, y]}
