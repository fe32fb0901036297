"""Where a server is and how to be let in: redis-py's URLs, as a value that never shows its password.

A mistake in an address is found here, before anything is opened. What AnyQ cannot honour is refused by name
when ignoring it would be a surprise (``decode_responses``, OCSP), and dropped when it only tunes redis-py's
own pool (``max_connections``).
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs
from redis.credentials import CredentialProvider

from .compat import parse_url
from .credentials import Blocking

_NO_EFFECT = {
    "max_connections",
    "retry_on_timeout",
    "retry_on_error",
    "health_check_interval",
    "socket_read_size",
    "socket_keepalive",
    "legacy_responses",
    "timeout",
}
_CERT_REQS = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
_TLS_OPTIONS = {
    "ssl_keyfile",
    "ssl_certfile",
    "ssl_password",
    "ssl_cert_reqs",
    "ssl_check_hostname",
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_ca_data",
    "ssl_min_version",
    "ssl_ciphers",
    "ssl_include_verify_flags",
    "ssl_exclude_verify_flags",
}


def _port(_instance: object, _attribute: object, value: int) -> None:
    if not 0 < value < 65536:
        raise ValueError(f"the port of a Redis URL must be between 1 and 65535, not {value}")


def _database(_instance: object, _attribute: object, value: int) -> None:
    if value < 0:
        raise ValueError(f"db must be 0 or more, not {value}")


def _protocol(_instance: object, _attribute: object, value: int | None) -> None:
    if value not in (None, 2, 3):
        raise ValueError(f"protocol must be 2 or 3, not {value}")


def _client_name(_instance: object, _attribute: object, value: str | None) -> None:
    check_client_name(value)


def check_client_name(name: str | None) -> str | None:
    """Refuse a connection name that CLIENT SETNAME would refuse, or that would spoil a log."""
    if name is not None and not all("!" <= character <= "~" for character in name):
        raise ValueError(f"client_name must be printable ASCII without spaces, not {name!r}")
    return name or None


@attrs.frozen(kw_only=True, repr=False)
class Address:
    """One server. Made by :meth:`parse`; changed by ``attrs.evolve``."""

    host: str = "localhost"
    port: int = attrs.field(default=6379, validator=_port)
    path: str | None = None
    """A unix socket; when given, host and port mean nothing."""

    db: int = attrs.field(default=0, validator=_database)
    username: str | None = None
    password: str | None = None
    credential_provider: CredentialProvider | None = None
    """Asked anew at every connect; takes the place of username and password."""

    client_name: str | None = attrs.field(default=None, validator=_client_name)
    protocol: int | None = attrs.field(default=None, validator=_protocol)
    """2 or 3 to insist; ``None`` speaks RESP3 where the server can."""

    connect_timeout: float | None = None
    """The URL's ``socket_connect_timeout``, which then wins over the settings."""

    reply_timeout: float | None = None
    """The URL's ``socket_timeout``, likewise."""

    tls: tuple[tuple[str, Any], ...] | None = None
    """redis-py's ``ssl_*`` options, for ``rediss://``; ``None`` is no TLS."""

    @classmethod
    def parse(cls, url: str | Address, *, credential_provider: CredentialProvider | None = None) -> Address:
        """Read ``redis://``, ``rediss://`` or ``unix://``, query options included.

        Args:
            url: As redis-py reads it: ``redis://user:password@host:6379/0?protocol=3``,
                ``unix:///run/redis.sock?db=1``. An address is taken as it is.
            credential_provider: redis-py's own kind; asked at every connect.

        Raises:
            ValueError: It cannot be used; the message names the part, and never holds the password.
        """
        if isinstance(url, Address):
            return attrs.evolve(url, credential_provider=credential_provider) if credential_provider else url
        options = _options(url)
        if credential_provider is not None:
            if "password" in options or "username" in options:
                raise ValueError(
                    "give either credentials in the Redis URL or a credential_provider, not both"
                )
            options["credential_provider"] = credential_provider
        return cls(**options)

    @property
    def where(self) -> str:
        """``host:port`` or the socket's path: what errors and logs show."""
        if self.path is not None:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def tls_context(self) -> ssl.SSLContext | None:
        """Make the TLS context: verification of certificate and host name is on unless the URL says otherwise.

        Reads the certificate files, so call it from a thread. Made anew for each connect: renewed files are seen.

        Raises:
            OSError: A file is missing, or is not what it should be (``ssl.SSLError`` is an ``OSError``).
        """
        if self.tls is None:
            return None
        options = dict(self.tls)
        context = ssl.create_default_context()
        requirement = _CERT_REQS[options.get("ssl_cert_reqs", "required")]
        context.check_hostname = options.get("ssl_check_hostname", True) and requirement != ssl.CERT_NONE
        context.verify_mode = requirement
        for flag in options.get("ssl_include_verify_flags", ()):
            context.verify_flags |= flag
        for flag in options.get("ssl_exclude_verify_flags", ()):
            context.verify_flags &= ~flag
        if "ssl_certfile" in options or "ssl_keyfile" in options:
            context.load_cert_chain(
                options.get("ssl_certfile") or options["ssl_keyfile"],
                options.get("ssl_keyfile"),
                options.get("ssl_password"),
            )
        if options.keys() & {"ssl_ca_certs", "ssl_ca_path", "ssl_ca_data"}:
            context.load_verify_locations(
                options.get("ssl_ca_certs"), options.get("ssl_ca_path"), options.get("ssl_ca_data")
            )
        if "ssl_min_version" in options:
            context.minimum_version = ssl.TLSVersion(options["ssl_min_version"])
        if "ssl_ciphers" in options:
            context.set_ciphers(options["ssl_ciphers"])
        return context

    def sync_client_options(self) -> dict[str, Any]:
        """The keyword arguments for a plain ``redis.Redis(...)`` that reaches the same server with the same rights."""
        options: dict[str, Any] = {
            "db": self.db,
            "username": self.username,
            "password": self.password,
            "credential_provider": Blocking(self.credential_provider) if self.credential_provider else None,
            "client_name": self.client_name,
            "protocol": self.protocol,
            "socket_connect_timeout": self.connect_timeout,
            "socket_timeout": self.reply_timeout,
        }
        if self.path is not None:
            options["unix_socket_path"] = self.path
        else:
            options |= {"host": self.host, "port": self.port}
        if self.tls is not None:
            options |= {"ssl": True, **dict(self.tls)}
        return {name: value for name, value in options.items() if value is not None}

    def __str__(self) -> str:
        if self.credential_provider is not None:
            who = "<credential provider>@"
        elif self.password is not None:
            who = f"{self.username or ''}:***@"
        else:
            who = f"{self.username}@" if self.username else ""
        if self.path is not None:
            return f"unix://{who}{self.path}" + (f"?db={self.db}" if self.db else "")
        return f"redis{'s' if self.tls is not None else ''}://{who}{self.where}/{self.db}"

    def __repr__(self) -> str:
        return f"<Address {self}>"


def _options(url: str) -> dict[str, Any]:
    """What :class:`Address` is made of, from redis-py's reading of the URL."""
    scheme = url.partition("://")[0]
    if scheme not in ("redis", "rediss", "unix"):
        raise ValueError(
            "the URL of a Redis or Valkey begins with redis://, rediss:// (TLS) or unix://, that of a server to be "
            f"started here with embedded://, and not with {scheme[:20]!r}"
        )
    try:
        parsed: dict[str, Any] = parse_url(url)
    except ValueError as error:
        if str(error).startswith("Invalid value for"):
            raise ValueError(f"{error} (as redis-py reads it)") from None
        # What urllib says about a bad port may be a piece of a password that was not percent-encoded.
        raise ValueError(
            "the Redis URL's host or port is malformed (a password in it must be percent-encoded)"
        ) from None
    parsed.pop("connection_class", None)

    if scheme == "unix" and "path" not in parsed:
        raise ValueError("a unix:// URL needs the absolute path of the socket, as in unix:///run/redis.sock")
    if scheme != "unix" and "db" not in parsed:
        _no_stray_path(url)

    tls = {name: parsed.pop(name) for name in list(parsed) if name.startswith("ssl_")}
    _check_tls(scheme, tls)
    _check_replies(parsed)
    for name in _NO_EFFECT:
        parsed.pop(name, None)
    for name, ours in (("socket_connect_timeout", "connect_timeout"), ("socket_timeout", "reply_timeout")):
        if name in parsed:
            parsed[ours] = value = parsed.pop(name)
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} must be a positive number of seconds, not {value:g}")
    allowed = {field.name for field in attrs.fields(Address)} - {"tls", "credential_provider"}
    if scheme == "unix":
        allowed -= {"host", "port"}
    unknown = sorted(parsed.keys() - allowed)
    if unknown:
        raise ValueError(f"the Redis URL has an option that does not exist: {', '.join(unknown)}")
    if scheme == "rediss":
        parsed["tls"] = tuple(sorted(tls.items()))
    return parsed


def _no_stray_path(url: str) -> None:
    """redis-py takes database 0 when it cannot read the path: the job would be in a queue that nobody reads."""
    path = urlsplit(url).path.strip("/")
    if path:
        raise ValueError(
            "the path of a Redis URL is the number of the database, as in redis://localhost:6379/0"
        )


def _check_tls(scheme: str, tls: Mapping[str, Any]) -> None:
    if tls and scheme != "rediss":
        raise ValueError(f"{min(tls)} means TLS, which needs rediss:// and not {scheme}://")
    unknown = sorted(tls.keys() - _TLS_OPTIONS)
    if unknown:
        raise ValueError(f"AnyQ does not support the TLS option {', '.join(unknown)}")
    if tls.get("ssl_cert_reqs", "required") not in _CERT_REQS:
        raise ValueError(f"ssl_cert_reqs must be none, optional or required, not {tls['ssl_cert_reqs']!r}")


def _check_replies(options: dict[str, Any]) -> None:
    """AnyQ's jobs are bytes: replies are never decoded on the way."""
    decode = str(options.pop("decode_responses", "0"))
    if decode.upper() not in ("0", "F", "FALSE", "N", "NO", ""):
        raise ValueError("decode_responses is not supported: AnyQ reads bytes; leave it out of the Redis URL")
    encoding = str(options.pop("encoding", "utf-8"))
    if encoding.lower().replace("-", "") != "utf8":
        raise ValueError(f"encoding must be utf-8, not {encoding!r}")
    options.pop("encoding_errors", None)
