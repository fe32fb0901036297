"""What a Queue is before it is opened: names, URLs and settings, checked at the door and told without secrets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from anyq import Backoff, Limits, Queue, Retention


def test_a_queue_without_a_url_takes_the_one_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANYQ_URL", "redis://elsewhere:7000/3")
    assert Queue("emails").url == "redis://elsewhere:7000/3"
    assert Queue("emails", "redis://here").url == "redis://here:6379/0"
    monkeypatch.delenv("ANYQ_URL")
    assert Queue("emails").url == "redis://localhost:6379/0"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:secret@host", "redis://:***@host:6379/0"),
        ("redis://ada:secret@host/2", "redis://ada:***@host:6379/2"),
        ("rediss://ada:secret@host", "rediss://ada:***@host:6379/0"),
        ("unix://:secret@/run/redis.sock", "unix://:***@/run/redis.sock"),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock?db=2"),
        ("redis://host?password=secret", "redis://:***@host:6379/0"),
        ("embedded://", "embedded://"),
        ("embedded:///var/lib/jobs", "embedded:///var/lib/jobs"),
    ],
)
def test_a_queue_shows_its_url_without_the_password(url: str, shown: str) -> None:
    queue = Queue("emails", url)
    assert queue.url == shown
    assert repr(queue) == f"<Queue 'emails' at {shown}, 0 tasks>"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://host", r"redis://, rediss:// \(TLS\) or unix://.* embedded://, and not with 'http'"),
        ("localhost:6379", "the URL of a Redis or Valkey begins with redis://"),
        ("redis://:sec/ret@host", "malformed"),
        ("redis://host/jobs", "the path of a Redis URL is the number of the database"),
        ("redis://host?colour=red", "does not exist: colour"),
        ("unix://", "the absolute path of the socket"),
        ("embedded://host/path", "three slashes, an absolute path"),
    ],
)
def test_a_wrong_url_is_refused_at_the_door(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        Queue("emails", url)
    assert "sec" not in str(caught.value).replace("seconds", "")


def test_a_url_that_is_no_string_is_refused() -> None:
    with pytest.raises(TypeError, match="url must be a string, not 6379"):
        Queue("emails", 6379)  # type: ignore[arg-type]


NAMES: Mapping[str, Any] = {
    "empty": ("", ValueError, "must not be empty"),
    "with a brace": ("a{b}", ValueError, "braces or control characters, and 'a{b}' has '{'"),
    "with a closing brace": ("a}b", ValueError, "has '}'"),
    "with a newline": ("a\nb", ValueError, "has '\\\\n'"),
    "with an escape": ("a\x1b[2J", ValueError, "has '\\\\x1b'"),
    "with a mark that turns the text around": ("a\u202eb", ValueError, "control characters"),
    "with half a character": ("a\ud800", ValueError, "must be valid Unicode"),
    "too long": ("é" * 129, ValueError, "at most 256 bytes, and 'é+'... has 258"),
    "bytes": (b"emails", TypeError, "must be a string, not b'emails'"),
    "nothing": (None, TypeError, "must be a string, not None"),
}
wrong_name = pytest.mark.parametrize(("name", "error", "message"), NAMES.values(), ids=NAMES.keys())


@wrong_name
def test_a_wrong_queue_name_is_refused_at_the_door(name: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"the queue's name {message}" if "must" in message else message):
        Queue(name)


@wrong_name
def test_a_wrong_task_name_is_refused_at_the_door(name: Any, error: type[Exception], message: str) -> None:
    queue = Queue("emails")
    if name is None:
        return  # the function's own name
    with pytest.raises(error, match=f"the task's name {message}" if "must" in message else message):
        queue.task(lambda: None, name=name)


@wrong_name
def test_a_wrong_job_id_is_refused_at_the_door(name: Any, error: type[Exception], message: str) -> None:
    queue = Queue("emails")
    if name is not None:
        with pytest.raises(error, match=message):
            queue.task(lambda: None, name="any").options(id=name)
    with pytest.raises(error, match=message):
        queue.job(name)


def test_a_name_may_have_256_bytes_of_any_script() -> None:
    assert Queue("é" * 128).name == "é" * 128
    assert Queue("очередь 待ち行列 📬").name == "очередь 待ち行列 📬"


SETTINGS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"attempts": 0}, ValueError, "attempts must be >= 1, not 0"),
    ({"attempts": 1.5}, TypeError, "attempts must be a whole number, not 1.5"),
    ({"attempts": True}, TypeError, "attempts must be a whole number, not True"),
    ({"timeout": 0}, ValueError, "timeout must be a finite number of seconds > 0, not 0"),
    ({"timeout": -1}, ValueError, "timeout must be .* not -1"),
    ({"timeout": float("nan")}, ValueError, "timeout must be .* not nan"),
    ({"timeout": float("inf")}, ValueError, "timeout must be .* not inf"),
    ({"timeout": "1"}, TypeError, "timeout must be a number of seconds or a timedelta, not '1'"),
    ({"result_ttl": timedelta(seconds=-1)}, ValueError, "result_ttl must be"),
    ({"backoff": 5}, TypeError, r"backoff must be a Backoff, such as Backoff.fixed\(5\), not 5"),
]
wrong_setting = pytest.mark.parametrize(("settings", "error", "message"), SETTINGS)


@wrong_setting
def test_a_wrong_setting_of_a_queue_names_itself(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Queue("emails", **settings)


@wrong_setting
def test_a_wrong_setting_of_a_task_names_itself(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Queue("emails").task(**settings)


@wrong_setting
def test_a_wrong_option_of_a_call_names_itself(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Queue("emails").task(lambda: None, name="any").options(**settings)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"max_length": 0}, ValueError, "max_length must be >= 1, not 0"),
        ({"max_length": "10"}, TypeError, "max_length must be a whole number, not '10'"),
        ({"outage_timeout": -1}, ValueError, "outage_timeout must be"),
        ({"prefix": "a{b"}, ValueError, "prefix must not contain braces"),
        ({"limits": {"payload": 1}}, TypeError, "limits must be a Limits, not {'payload': 1}"),
        ({"retention": 60}, TypeError, "retention must be a Retention, not 60"),
        ({"credential_provider": ("me", "secret")}, TypeError, "credential_provider must be .* not a tuple"),
    ],
)
def test_a_wrong_setting_of_the_queue_alone_names_itself(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Queue("emails", **settings)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Limits(payload=0), ValueError, "payload must be >= 1, not 0"),
        (lambda: Limits(depth="deep"), TypeError, "depth must be a whole number, not 'deep'"),  # type: ignore[arg-type]
        (lambda: Retention(ids=-1), ValueError, "ids must be a finite number of seconds >= 0, not -1"),
        (lambda: Retention(events=-1), ValueError, "events must be >= 1, not -1"),
        (lambda: Backoff.fixed(-1), ValueError, "delay must be"),
        (
            lambda: Backoff.exponential(1, multiplier=0.5),
            ValueError,
            "multiplier must be a finite number >= 1, not 0.5",
        ),
        (lambda: Backoff.of(3), TypeError, "Backoff.of needs a function"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_setting_of_a_group_names_itself(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
