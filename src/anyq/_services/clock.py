"""The wall clock, for what is shown to people only: decisions use Redis's clock or a monotonic one."""

from __future__ import annotations

import time


def wall_ms() -> int:
    """Give epoch milliseconds."""
    return time.time_ns() // 1_000_000
