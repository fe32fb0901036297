"""Writing down what a schedule is to be: read, plan, write if nothing has changed meanwhile, and else again.

Rule: what is asked for a second time changes nothing. A program may ask at every start: the planned time stays while
the timing does, the counters while the definition does.
"""

from __future__ import annotations

import attrs

from .._core.schedules import Spec, first
from .._store.schedules import Known, Scheduling
from .patience import Patience


async def write_down(scheduling: Scheduling, patience: Patience, spec: Spec) -> bool:
    """Make a schedule what it is to be; tell whether it will be due, or has been. If it never would, nothing is done.

    Safe to cancel: it is written as a whole or not at all.
    """
    while True:
        now_ms, found = await patience(scheduling.read, [spec.name])
        before = found[0] if found else None
        if before is not None and _is_the_same(before, spec):
            if before.place == "ended":
                await patience(scheduling.remember, spec.name)
                return True
            if before.spec == spec:
                return True
        planned = first(spec, now_ms)
        if planned is None:
            return False
        known = None if before is None else before.spec
        keep = known is not None and known.timing == spec.timing
        anew = before is None or not _is_the_same(before, spec)
        if await patience(scheduling.put, spec, before, planned, keep=keep, anew=anew):
            return True


def _is_the_same(before: Known, spec: Spec) -> bool:
    """Whether it is the same schedule, whoever asks for it."""
    return before.spec is not None and attrs.evolve(before.spec, declared=spec.declared) == spec
