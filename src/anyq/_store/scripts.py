"""The Lua files, loaded once; those that settle entries have the owner's prologue before them."""

from __future__ import annotations

from importlib.resources import files

from .._redis.scripts import Script

_FOLDER = files("anyq._store").joinpath("lua")


def _load(name: str, *, owner_checked: bool = False) -> Script:
    text = _FOLDER.joinpath(f"{name}.lua").read_text(encoding="utf-8")
    if owner_checked:
        text = _FOLDER.joinpath("_owner.lua").read_text(encoding="utf-8") + text
    return Script(name, text)


PUBLISH = _load("publish")
SCHEDULE = _load("schedule")
ACK = _load("ack")
COMPLETE = _load("complete")
PROMOTE = _load("promote")
DEPART = _load("depart")
APPEND = _load("append")
DEPTHS = _load("depths")
RETRY = _load("retry", owner_checked=True)
BURY = _load("bury", owner_checked=True)
HAND_BACK = _load("hand_back", owner_checked=True)
TAKE_OVER = _load("take_over", owner_checked=True)
SWEEP = _load("sweep", owner_checked=True)
RENEW = _load("renew", owner_checked=True)
