"""Asking redis-py's credential providers: anew at every connect, since what they give may have been rotated.

Rule: whatever a provider raises is an outage with that cause, and passes when the provider works again.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from anyio.to_thread import run_sync
from redis.credentials import CredentialProvider

from ..errors import RedisUnavailable

_given: WeakKeyDictionary[CredentialProvider, tuple[str, str]] = WeakKeyDictionary()
"""What providers gave last that know only the asynchronous form."""


async def ask(provider: CredentialProvider) -> tuple[str, str]:
    """Give user and password. A provider that knows only the blocking form is asked in a thread.

    Raises:
        RedisUnavailable: It failed.
    """
    try:
        # redis-py's default of the asynchronous form is the synchronous one plus a warning in the log.
        if not _overrides(provider, "get_credentials_async"):
            return _pair(await run_sync(provider.get_credentials, abandon_on_cancel=True))
        pair = _pair(await provider.get_credentials_async())
        if not _overrides(provider, "get_credentials"):
            _given[provider] = pair
        return pair
    except Exception as error:
        raise _failed(error) from error


class Blocking(CredentialProvider):
    """The same for redis-py's synchronous client, in a thread without an event loop.

    A provider that knows only the asynchronous form belongs to a loop, which may stand still. So its last answer to a
    connection of that loop is used: such a connection is made before, and made again after a rotation.
    """

    def __init__(self, provider: CredentialProvider) -> None:
        self._provider = provider

    def get_credentials(self) -> tuple[str, str]:
        try:
            if _overrides(self._provider, "get_credentials"):
                return _pair(self._provider.get_credentials())
            return _given[self._provider]
        except Exception as error:
            raise _failed(error) from error


def _overrides(provider: CredentialProvider, form: str) -> bool:
    return getattr(type(provider), form) is not getattr(CredentialProvider, form)


def _pair(given: Any) -> tuple[str, str]:
    """User and password; a provider may leave the user out."""
    *user, password = given
    return (user[0] or "") if user else "", password


def _failed(error: Exception) -> RedisUnavailable:
    return RedisUnavailable(f"the credential provider failed: {type(error).__name__}: {error}")
