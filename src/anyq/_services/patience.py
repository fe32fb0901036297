"""Redis trouble is not a crash: how every loop meets it.

What passes (a lost connection, LOADING, READONLY, OOM, BUSY, a group that a flush took along) is tried again with
backoff and jitter, for as long as it lasts or as the caller will wait; what waiting cannot mend (a wrong password, a
missing right, a key of another type) is raised. Transitions are logged once each, not every try.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final, ParamSpec, TypeVar

import anyio
from redis.exceptions import NoPermissionError, RedisError

from .._redis.replies import error_code
from ..errors import ConfigurationError, RedisUnavailable
from .hesitation import Hesitation

logger = logging.getLogger("anyq.redis")

P = ParamSpec("P")
T = TypeVar("T")

#: First words of error replies that pass by themselves, or by somebody's repair of the server.
PASSING: Final = frozenset(
    {"LOADING", "READONLY", "OOM", "BUSY", "UNKILLABLE", "MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN",
     "TRYAGAIN", "UNBLOCKED", "NOSCRIPT", "NOGROUP", "NOTREADY"}
)  # fmt: skip

_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 2.0

#: Where a script's error names the error inside: before Redis 7, and since.
_FROM_SCRIPT = re.compile(r"@user_script: ?\d*:? ?-?([A-Z]{2,})\b|: -?([A-Z]{4,}) ")

#: What a script says that lacks a right.
_NO_RIGHT = re.compile(r"ACL failure in script|The user executing the script can't")


def reply_code(error: BaseException) -> str:
    """Give the word that says what an error reply is about, also where a script's error wraps it (before Redis 7)."""
    code = error_code(error)
    if code in ("", "ERR") or code.startswith("@user_script"):
        text = str(error)
        if "max number of clients" in text:
            return "BUSY"
        if isinstance(error, NoPermissionError) or _NO_RIGHT.search(text):
            return "NOPERM"
        # XINFO's and XGROUP's words for a group that went with its stream.
        if text == "no such key" or "requires the key to exist" in text:
            return "NOGROUP"
        for match in _FROM_SCRIPT.finditer(text):
            inner = match.group(1) or match.group(2)
            if inner in PASSING or inner in ("WRONGTYPE", "NOPERM"):
                return inner
    return code


def passes(error: BaseException) -> bool:
    """Tell whether waiting can mend an error."""
    if isinstance(error, ConfigurationError):
        return False
    return isinstance(error, RedisUnavailable) or reply_code(error) in PASSING


def configuration_error(what: str, error: RedisError) -> ConfigurationError:
    """Say what to do about an error reply that waiting cannot mend."""
    code = reply_code(error)
    advice = {
        "WRONGTYPE": "a key of the queue holds something else: another program uses the same name; rename the queue or "
        "give it another prefix",
        "NOPERM": "the user of the URL lacks a right: 'Rights' in docs/running.md lists what it needs",
        "NOAUTH": "the server wants a password: put it into the URL",
        "WRONGPASS": "the server refuses the user or the password of the URL",
    }.get(code, "the server refuses it")
    if "unknown command" in str(error):
        advice = (
            "the server lacks a command: it is older than Redis 6.2, no Redis at all, or its configuration took the "
            "command away; `anyq doctor` tells"
        )
    return ConfigurationError(f"{what}: {advice} ({error})")


class Outages:
    """Knows who has trouble, and logs when it begins and when it is over: once each, however many met it.

    Args:
        who: Whose trouble it is, for the log.

    Attributes:
        down: Whether Redis is in trouble, as far as anybody knows.
        last_error: What went wrong last.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self._troubled: set[object] = set()
        self._since = 0.0
        self.down: bool = False
        self.last_error: BaseException | None = None

    @property
    def troubled(self) -> bool:
        """Whether anybody is waiting for Redis."""
        return bool(self._troubled)

    def trouble(self, call: object, service: str, error: BaseException) -> None:
        """A try failed."""
        if not self.down:
            self.down = True
            self._since = time.monotonic()
            logger.warning("%s lost Redis (%s: %s); trying until it is back", self._who, service, error)
        self.last_error = error
        self._troubled.add(call)

    def fine(self, call: object) -> None:
        """A try worked."""
        self._troubled.discard(call)
        if self.down and not self._troubled:
            self.down = False
            logger.info("%s has Redis back after %.1f s", self._who, time.monotonic() - self._since)

    def gone(self, call: object) -> None:
        """Whoever tried gave up; whether Redis is back is for others to find out."""
        self._troubled.discard(call)


class Patience:
    """Runs verbs until Redis takes them.

    Args:
        service: Whose verbs they are.
        outages: Where trouble is told.
        mend_group: Creates the consumer group again after a flush or a failover.
        limit: Seconds after which an outage is too long; ``None`` for never.
    """

    def __init__(
        self,
        service: str,
        outages: Outages,
        mend_group: Callable[[], Awaitable[None]] | None = None,
        limit: float | None = None,
    ) -> None:
        self.service = service
        self._outages = outages
        self._mend_group = mend_group
        self._limit = limit

    def of(self, service: str) -> Patience:
        """Give one like this for the verbs of another service."""
        return Patience(service, self._outages, self._mend_group, self._limit)

    async def __call__(self, verb: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run ``verb`` with these arguments until it is answered. It must be safe to send again.

        Raises:
            RedisUnavailable: The limit passed.
            ConfigurationError: The server refuses it, and will again.
        """
        hesitation: Hesitation | None = None
        began = 0.0
        call = object()
        try:
            while True:
                tried = time.monotonic()
                try:
                    answer = await verb(*args, **kwargs)
                except (RedisUnavailable, RedisError) as error:
                    if not passes(error):
                        if isinstance(error, RedisError):
                            raise configuration_error(self.service, error) from error
                        raise
                    first = hesitation is None
                    if hesitation is None:
                        hesitation = Hesitation(_FIRST_PAUSE, _LONGEST_PAUSE)
                        began = tried  # a try that waited in vain was part of the outage
                    if self._limit is not None and time.monotonic() - began >= self._limit:
                        long = f" for {self._limit:g} s" if self._limit else ""
                        raise RedisUnavailable(
                            f"Redis did not take it{long} ({self.service}): {error}"
                        ) from error
                    self._outages.trouble(call, self.service, error)
                    pause = hesitation.next()
                    # A group that vanished is made again at once; one that goes on vanishing is met with the pause.
                    mended = reply_code(error) == "NOGROUP" and await self._mend()
                    if not mended or not first:
                        await anyio.sleep(pause)
                else:
                    if self._outages.down:
                        self._outages.fine(call)
                    return answer
        finally:
            self._outages.gone(call)

    async def _mend(self) -> bool:
        """Make the group again, if that is ours to do; tell whether it was done."""
        if self._mend_group is None:
            return False
        try:
            await self._mend_group()
        except (RedisUnavailable, RedisError) as error:
            if not passes(error):
                raise
            return False
        return True
