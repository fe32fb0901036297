"""The heartbeat: says that this process lives, from a thread of its own with a plain connection of its own.

A handler that blocks the event loop does not make the worker look dead, since the thread goes on; but the thread beats
only while the loop has turned within ``max_block`` seconds, so a deadlocked loop does not look alive for ever. (A C
extension that holds the interpreter's lock stops even the thread.)

Beats that take a quarter of the lease or more do not keep the worker safe: it takes no jobs then, and the log says so.

With each beat goes what the worker last told about itself. That is for those who look; nobody who decides reads it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import cast

import redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.retry import Retry

from .._redis.address import Address
from .._store import scripts

logger = logging.getLogger("anyq.heartbeat")

#: Beats within one lease.
_BEATS = 4

#: Sent whole with each beat, so that a server that forgot it is no trouble.
_BEAT = scripts.BEAT.body.decode()

#: Seconds between two tries when a beat failed.
_RETRY = 0.2


class Heartbeat:
    """Keeps the heartbeat keys of one worker on one server.

    Args:
        locate: Gives the server's address; asked at every connect, may block.
        keys: The heartbeat keys, one a queue.
        lease: Seconds after which a worker that does not beat is taken for dead.
        max_block: Seconds for which the event loop may stand still before the thread stops beating.
    """

    def __init__(
        self, locate: Callable[[], Address], keys: Sequence[bytes], lease: float, max_block: float
    ) -> None:
        self._locate = locate
        self._keys = keys
        self._lease = lease
        self._lease_ms = max(1, round(lease * 1000))
        self._max_block = max_block
        self._client: redis.Redis | None = None
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="anyq heartbeat", daemon=True)
        self._ticked = time.monotonic()
        self._last = 0.0
        self._steady_since = 0.0
        self._loop_stuck = False
        self._slow = False
        self._beating = False
        # A frozen connection must be noticed, and made again, within one lease; the thread does its own retrying.
        self._patience = max(0.5, lease / _BEATS)
        self.record: bytes = b"1"
        """What the worker tells about itself; the loop sets it, the thread writes it."""
        self.lapses = 0
        """How often beats were so far apart that others may have taken this worker for dead."""
        self.error: Exception | None = None

    # -- what the loop does ---------------------------------------------------------------------------------------

    def tick(self) -> None:
        """The event loop turned."""
        self._ticked = time.monotonic()

    def hurry(self) -> None:
        """Beat at once: there is news in the record."""
        self._wake.set()

    def start(self) -> None:
        """Begin to beat; the first `beat` must have been made."""
        self._thread.start()

    def stop(self) -> None:
        """Stop beating, without waiting for the thread; keys that are still there run out."""
        self._stop.set()
        self._wake.set()
        if self._thread.ident is None and not self._beating:
            self._drop()  # it was never started, and the first beat's connection is nobody's

    def join(self, timeout: float) -> None:
        """Wait for the thread to end, up to ``timeout`` seconds; blocks."""
        if self._thread.is_alive():
            self._thread.join(timeout)

    @property
    def age(self) -> float:
        """Seconds since the last beat that the server took."""
        return time.monotonic() - self._last

    @property
    def fresh(self) -> bool:
        """Whether nobody can take this worker for dead: a worker that may look dead takes no jobs."""
        return self.age < 0.8 * self._lease

    @property
    def steady(self) -> bool:
        """Whether beats came regularly for a whole lease.

        After a stall of the server or of this process everybody's heartbeat may have run out; who judges others waits
        until it has been well itself for as long as a heartbeat lasts.
        """
        return self.fresh and time.monotonic() - self._steady_since >= self._lease

    # -- what the thread does -------------------------------------------------------------------------------------

    def beat(self) -> None:
        """Beat once; blocks.

        Raises:
            redis.exceptions.RedisError, OSError: The server did not take it.
        """
        self._beating = True
        try:
            self._beat()
        finally:
            self._beating = False
            if self._stop.is_set():  # nobody waits for this beat any more
                self._drop()

    def _beat(self) -> None:
        connects = self._client is None
        if self._client is None:
            options = self._locate().sync_client_options()
            options.update(
                socket_timeout=self._patience,
                socket_connect_timeout=self._patience,
                retry=Retry(NoBackoff(), 0),
            )
            self._client = redis.Redis(**options)
        # A key lives from when the server took the beat, which may be long before it says so.
        began = time.monotonic()
        # redis-py has no type for one of pipeline's parameters, which is not used here.
        make = cast("Callable[..., Pipeline]", self._client.pipeline)  # pyright: ignore[reportUnknownMemberType]
        pipeline = make(transaction=False)
        for key in self._keys:
            pipeline.eval(_BEAT, 1, key, self._lease_ms, self.record)
        missing = False
        for found in pipeline.execute(raise_on_error=False):
            if isinstance(found, Exception):
                raise found
            missing = missing or not found
        took, fresh = time.monotonic() - began, self.fresh
        if missing or began - self._last > 0.8 * self._lease:
            self._steady_since = time.monotonic()
            self.lapses += 1
        self._last = began
        self.error = None
        if not connects and took >= self._lease / _BEATS and not fresh:
            self._say_slow(f"a heartbeat took {took:.2g} s")
        elif took < self._lease / _BEATS and self._slow and self.steady:
            self._slow = False
            logger.info("Redis answers heartbeats in time again: this worker takes jobs")

    def _say_slow(self, what: str) -> None:
        """Say once that the beats take too long for the lease."""
        if not self._slow:
            self._slow = True
            logger.warning("%s: %s", what, self._advice)

    @property
    def _advice(self) -> str:
        return (
            f"with a lease of {self._lease:g} s a worker takes no jobs meanwhile, and others may take it for dead; if "
            "the way to Redis is always as slow as that, and it is no outage nor code that holds the interpreter's "
            "lock, a longer lease= is right, more than four round trips"
        )

    def explain(self, error: Exception) -> str:
        """Say why a beat failed, and what to do when the reason may be the lease."""
        if isinstance(error, redis.TimeoutError):
            return f"no answer within {self._patience:g} s ({error}): {self._advice}"
        return str(error)

    def _run(self) -> None:
        pause = self._lease / _BEATS
        try:
            while True:
                self._wake.wait(pause)
                self._wake.clear()
                if self._stop.is_set():
                    break
                pause = self._lease / _BEATS
                if not self._loop_turns():
                    continue
                try:
                    self.beat()
                except Exception as error:  # noqa: BLE001 - without this thread a worker that lives looks dead
                    # Redis's trouble is told by all who meet it.
                    if not isinstance(error, redis.RedisError | OSError):
                        logger.warning("a heartbeat failed: %s: %s", type(error).__name__, error)
                    elif isinstance(error, redis.TimeoutError) and not self.fresh:
                        self._say_slow(f"Redis did not answer a heartbeat within {self._patience:g} s")
                    self.error = error
                    self._drop()
                    pause = min(_RETRY, pause)
        finally:
            self._drop()

    def _loop_turns(self) -> bool:
        stuck = time.monotonic() - self._ticked > self._max_block
        if stuck and not self._loop_stuck:
            logger.error(
                "the event loop has not turned for %g s: this worker stops saying that it lives, and others take "
                "its jobs; look for a handler that blocks",
                self._max_block,
            )
        self._loop_stuck = stuck
        return not stuck

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            try:
                client.close()
            except (redis.RedisError, OSError) as error:
                logger.debug("closing the heartbeat's connection: %s", error)
