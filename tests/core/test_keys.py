"""Every key, byte for byte: chasquimq's names (its sheet, section 1), and AnyQ's own beside them."""

from __future__ import annotations

import pytest

from anyq._core.keys import CONSUMER_PREFIX, GROUP, Keys


def test_a_shared_queue_has_chasquimqs_keys() -> None:
    keys = Keys("chasqui", "emails")
    assert keys.stream == b"{chasqui:emails}:stream"
    assert keys.delayed == b"{chasqui:emails}:delayed"
    assert keys.dead_letters == b"{chasqui:emails}:dlq"
    assert keys.events == b"{chasqui:emails}:events"
    assert keys.promoter_lock == b"{chasqui:emails}:promoter:lock"
    assert keys.taken_id("uniq-1") == b"{chasqui:emails}:dlid:uniq-1"
    assert keys.delayed_member("uniq-1") == b"{chasqui:emails}:didx:uniq-1"
    assert keys.paused == b"{chasqui:emails}:paused"
    assert keys.result("ok1") == b"{chasqui:emails}:result:ok1"
    assert GROUP == b"default"


def test_what_anyq_adds_has_keys_of_its_own() -> None:
    keys = Keys("anyq", "emails")
    assert keys.returned == b"{anyq:emails}:returned"
    assert keys.due == b"{anyq:emails}:due"
    assert keys.trimmed == b"{anyq:emails}:dlq:trimmed"
    assert keys.mended(b"t") == b"{anyq:emails}:mended:t"
    assert keys.failure("j") == b"{anyq:emails}:failure:j"
    assert keys.finished("j") == b"{anyq:emails}:finished:j"
    assert keys.sent(b"p") == b"{anyq:emails}:sent:p"
    assert keys.next_batch(b"p") == b"{anyq:emails}:next:p"
    assert keys.heartbeat(b"anyq-1") == b"{anyq:emails}:heartbeat:anyq-1"
    assert keys.pauses == b"{anyq:emails}:pauses"
    assert keys.confirmed == b"{anyq:emails}:pauses:confirmed"
    assert keys.aside("task") == b"{anyq:emails}:aside:task"
    assert CONSUMER_PREFIX == b"anyq-"


def test_returned_jobs_are_read_first() -> None:
    keys = Keys("anyq", "emails")
    assert keys.lanes == (keys.returned, keys.stream)
    assert not keys.shared


def test_a_shared_queue_has_one_lane_because_foreign_workers_look_nowhere_else() -> None:
    keys = Keys("chasqui", "emails")
    assert keys.lanes == (keys.stream,)
    assert keys.returned == keys.stream
    assert keys.shared


@pytest.mark.parametrize("queue", ["emails", "größe", "a b:c", "🦉"])
def test_all_keys_of_a_queue_share_one_hash_tag(queue: str) -> None:
    keys = Keys("anyq", queue)
    tag = f"{{anyq:{queue}}}:".encode()
    all_keys = [
        keys.stream,
        keys.returned,
        keys.delayed,
        keys.dead_letters,
        keys.trimmed,
        keys.mended(b"t"),
        keys.events,
        keys.promoter_lock,
        keys.due,
        keys.cancels,
        keys.cancelling,
        keys.result("j"),
        keys.failure("j"),
        keys.finished("j"),
        keys.taken_id("j"),
        keys.delayed_member("j"),
        keys.unique("j"),
        keys.track("j"),
        keys.waiting,
        keys.children,
        keys.counts,
        keys.parked,
        keys.history,
        keys.progress("j"),
        keys.log("j"),
        keys.sent(b"p"),
        keys.next_batch(b"p"),
        keys.heartbeat(b"c"),
        keys.pauses,
        keys.confirmed,
        keys.paused,
        keys.pausing,
        keys.confirming,
        keys.aside("t"),
    ]
    assert all(key.startswith(tag) for key in all_keys)
    assert len(set(all_keys)) == len(all_keys)


def test_keys_of_one_queue_are_equal_and_of_two_are_not() -> None:
    assert Keys("anyq", "a") == Keys("anyq", "a")
    assert Keys("anyq", "a") != Keys("anyq", "b")
    assert hash(Keys("anyq", "a")) == hash(Keys("anyq", "a"))
