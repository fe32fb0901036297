"""An address: what redis-py's URLs mean, what is refused, and that no password is ever shown."""

from __future__ import annotations

import ssl
from typing import Any

import attrs
import pytest
import redis
from redis.credentials import UsernamePasswordCredentialProvider
from tests.support.servers import Server
from tests.support.tls import certificates

from anyq._redis.address import Address


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {"host": "localhost", "port": 6379, "db": 0}),
        ("redis://example.org", {"host": "example.org", "port": 6379, "db": 0}),
        ("redis://example.org:7000/3", {"host": "example.org", "port": 7000, "db": 3}),
        ("redis://example.org/3?db=5", {"db": 5}),
        ("redis://[::1]:7000", {"host": "::1", "port": 7000}),
        ("redis://:secret@h", {"username": None, "password": "secret"}),
        ("redis://ada:p%40ss%2Fword@h", {"username": "ada", "password": "p@ss/word"}),
        ("redis://h?username=ada&password=secret", {"username": "ada", "password": "secret"}),
        ("redis://h?protocol=2", {"protocol": 2}),
        ("redis://h?client_name=me", {"client_name": "me"}),
        (
            "redis://h?socket_connect_timeout=2&socket_timeout=1.5",
            {"connect_timeout": 2.0, "reply_timeout": 1.5},
        ),
        ("redis://h?max_connections=7&retry_on_timeout=1&health_check_interval=3", {"host": "h"}),
        ("redis://h?decode_responses=false", {"host": "h"}),
        ("unix:///run/redis.sock", {"path": "/run/redis.sock", "db": 0}),
        (
            "unix://ada:secret@/run/my%20redis.sock?db=2",
            {"path": "/run/my redis.sock", "username": "ada", "db": 2},
        ),
        ("rediss://h", {"tls": ()}),
        ("rediss://h?ssl_cert_reqs=none", {"tls": (("ssl_cert_reqs", "none"),)}),
    ],
)
def test_a_url_means_what_it_means_to_redis_py(url: str, expected: dict[str, Any]) -> None:
    address = Address.parse(url)
    assert {name: getattr(address, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://h", "begins with redis://, rediss://"),
        ("h:6379", "begins with redis://"),
        ("redis://h:notaport", "malformed"),
        ("redis://h:70000", "malformed"),
        ("redis://h/mydatabase", "number of the database"),
        ("redis://h/-1", "db must be 0 or more"),
        ("redis://h?db=x", "'db'"),
        ("redis://h?protocol=4", "protocol must be 2 or 3"),
        ("redis://h?client_name=two%20words", "client_name"),
        ("redis://h?socket_timeout=0", "socket_timeout"),
        ("redis://h?socket_timeout=nan", "socket_timeout"),
        ("redis://h?socket_conect_timeout=1", "does not exist: socket_conect_timeout"),
        ("redis://h?decode_responses=true", "decode_responses is not supported"),
        ("redis://h?encoding=latin1", "encoding must be utf-8"),
        ("redis://h?ssl_ca_certs=/x", "needs rediss://"),
        ("rediss://h?ssl_validate_ocsp=1", "does not support the TLS option ssl_validate_ocsp"),
        ("rediss://h?ssl_cert_reqs=maybe", "none, optional or required"),
        ("unix://", "needs the absolute path"),
        ("unix://relative.sock", "needs the absolute path"),
    ],
)
def test_a_mistake_is_named(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Address.parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://ada:hunter2@h:1/2",
        "redis://:hunter2@h",
        "unix://:hunter2@/run/redis.sock",
        "rediss://h?password=hunter2&ssl_password=hunter2",
    ],
)
def test_a_password_is_never_shown(url: str) -> None:
    address = Address.parse(url)
    for text in (str(address), repr(address), address.where, f"{address}"):
        assert "hunter2" not in text
    assert "***" in str(address)


def test_a_password_that_breaks_the_url_is_not_shown_either() -> None:
    with pytest.raises(ValueError, match="percent-encoded") as caught:
        Address.parse("redis://ada:hunter2/secret@h:6379")
    assert "hunter" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_an_address_introduces_itself() -> None:
    assert str(Address.parse("redis://ada:x@h:7000/3")) == "redis://ada:***@h:7000/3"
    assert str(Address.parse("rediss://[::1]")) == "rediss://[::1]:6379/0"
    assert str(Address.parse("unix:///run/r.sock?db=1")) == "unix:///run/r.sock?db=1"
    assert repr(Address.parse("redis://")) == "<Address redis://localhost:6379/0>"


def test_credentials_come_from_one_place() -> None:
    provider = UsernamePasswordCredentialProvider("ada", "x")
    assert Address.parse("redis://h", credential_provider=provider).credential_provider is provider
    with pytest.raises(ValueError, match="not both"):
        Address.parse("redis://:secret@h", credential_provider=provider)
    address = Address.parse("redis://h")
    assert Address.parse(address) is address
    assert attrs.evolve(address, db=3).db == 3


def test_tls_verifies_by_default() -> None:
    context = Address.parse("rediss://h").tls_context()
    assert context is not None
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert Address.parse("redis://h").tls_context() is None


def test_tls_can_be_told_otherwise() -> None:
    context = Address.parse("rediss://h?ssl_cert_reqs=none").tls_context()
    assert context is not None
    assert context.verify_mode == ssl.CERT_NONE
    authority, key, certificate = (certificates() / name for name in ("ca.pem", "server.key", "server.pem"))
    context = Address.parse(
        f"rediss://h?ssl_ca_certs={authority}&ssl_keyfile={key}&ssl_certfile={certificate}"
        "&ssl_check_hostname=false&ssl_min_version=772&ssl_ciphers=HIGH"
    ).tls_context()
    assert context is not None
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert not context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_3


def test_a_synchronous_client_can_be_made_of_the_same_address(redis_url: str, server: Server) -> None:
    address = Address.parse(f"{redis_url}?db=3&client_name=beat&socket_timeout=2")
    with redis.Redis(**address.sync_client_options()) as client:
        client.set("here", 1)
        assert [(row["db"], row["name"]) for row in server.clients()] == [("3", "beat")]
    options = Address.parse("rediss://:secret@h:1?ssl_cert_reqs=none").sync_client_options()
    assert options == {
        "host": "h",
        "port": 1,
        "db": 0,
        "password": "secret",
        "ssl": True,
        "ssl_cert_reqs": "none",
    }
