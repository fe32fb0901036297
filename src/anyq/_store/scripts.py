"""The Lua files, loaded once, each with the prologues before it that it needs."""

from __future__ import annotations

from importlib.resources import files

from .._redis.scripts import Script

_FOLDER = files("anyq._store").joinpath("lua")


def _load(name: str, *prologues: str) -> Script:
    return Script(
        name,
        "".join(_FOLDER.joinpath(f"{part}.lua").read_text(encoding="utf-8") for part in (*prologues, name)),
    )


PUBLISH = _load("publish", "_count", "_once", "_ready")
SCHEDULE = _load("schedule", "_count", "_clock", "_once", "_parked", "_delay", "_afresh", "_ready")
ACK = _load("ack", "_count", "_finish")
COMPLETE = _load("complete", "_count", "_clock", "_owner", "_ending", "_finish")
PROMOTE = _load("promote", "_count", "_clock", "_parked")
UNINDEX = _load("unindex")
WHERE = _load("where")
SEEK = _load("seek")
SCAN = _load("scan")
WITHDRAW = _load("withdraw", "_count", "_clock", "_parked", "_once", "_ending", "_cancelled")
CANCEL = _load("cancel", "_count", "_clock", "_once", "_ending", "_cancelled")
RESCHEDULE = _load("reschedule", "_clock", "_once", "_delay")
OVERTAKEN = _load("overtaken")
CANCELS = _load("cancels", "_clock")
BEAT = _load("beat")
JOIN = _load("join")
DEPART = _load("depart")
TAKE = _load("take")
TOTALS = _load("totals", "_clock")
DEPTHS = _load("depths", "_clock")
PAUSE = _load("pause")
RESUME = _load("resume")
LOOK = _load("look", "_clock")
CONFIRM = _load("confirm")
LETTERS = _load("letters")
ERRORS = _load("errors")
LIST_LANE = _load("list_lane", "_outline")
LIST_DELAYED = _load("list_delayed", "_outline")
COUNT_BEFORE = _load("count_before")
LIST_WAITING = _load("list_waiting", "_outline")
REPLAY = _load("replay", "_count", "_afresh", "_ready")
DISCARD = _load("discard")
TRIM = _load("trim", "_clock")
RIGHTS = _load("rights")
AGES = _load("ages", "_clock")
RETRY = _load("retry", "_count", "_clock", "_parked", "_owner", "_delay")
BURY = _load("bury", "_count", "_clock", "_owner", "_ending")
HAND_BACK = _load("hand_back", "_owner")
TAKE_OVER = _load("take_over", "_count", "_owner")
SWEEP = _load("sweep", "_count", "_owner")
RENEW = _load("renew", "_owner")
SET_ASIDE = _load("set_aside", "_clock", "_owner")
READMIT = _load("readmit", "_clock", "_owner")
DUE_SCHEDULES = _load("due_schedules", "_clock")
READ_SCHEDULES = _load("read_schedules", "_clock")
FIRE_SCHEDULE = _load("fire_schedule", "_count", "_clock", "_delay")
PUT_SCHEDULE = _load("put_schedule")
REMEMBER_SCHEDULE = _load("remember_schedule", "_clock")
PAUSE_SCHEDULE = _load("pause_schedule")
RESUME_SCHEDULE = _load("resume_schedule", "_clock")
REMOVE_SCHEDULE = _load("remove_schedule")
NOTE = _load("note", "_owner")
END_CANCELLED = _load("end_cancelled", "_count", "_clock", "_owner", "_ending", "_cancelled")
AWAIT = _load("await", "_count", "_clock", "_once", "_ready", "_owner", "_ending", "_afresh")
GATHER = _load("gather", "_count", "_clock", "_once", "_ready", "_delay")
