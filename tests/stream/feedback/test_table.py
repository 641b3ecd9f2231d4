"""The join's table: what is recovered from the changelog."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry

from stream.feedback.join import FeedbackJoin
from stream.feedback.pending import PROGRESS_KEY
from stream.feedback.table import JoinState, PartitionedStore
from stream.messages.refusals import Refusals
from tests.stream.feedback.test_join import LATENESS_S, START, TASKS, new_join, newest, pending


@dataclass
class Message:
    """A record of the changelog, as Faust shows it."""

    key: bytes | None
    value: bytes | None
    offset: int = 0
    partition: int = 0
    topic: str = "changelog"


def recovered(messages: list[Message], registry: CollectorRegistry) -> JoinState:
    store = PartitionedStore.__new__(PartitionedStore)
    store.states = {}
    store.table = SimpleNamespace(refusals=Refusals(registry))
    store.apply_changelog_batch([SimpleNamespace(message=m) for m in messages], bytes, bytes)
    return store.states.get(0, JoinState())


def test_hostile_entries_are_left_out_of_the_recovered_state(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Entries that no join wrote are counted with their coordinates; the others are recovered."""
    source = new_join()
    source.add_request(b"a", pending(START, 5), START)
    assert isinstance(source.state, JoinState)
    good = [Message(key, value) for key, value in source.state.take_changes(source.progress())]
    bad = [
        Message(None, b"{}"),
        Message(b"k" * 9000, pending(START)),
        Message(b"a", b"P" + b"\xff" * 30),
        Message(b"x", b"H\x00\x00"),
        Message(b"\xff\xfe", pending(START)),
        Message(PROGRESS_KEY, b"[[["),
        Message(PROGRESS_KEY, b'{"watermark": 1e400, "seen": {}}'),
    ]
    for offset, message in enumerate(bad):
        message.offset = offset
    registry = CollectorRegistry()
    state = recovered([*good, *bad], registry)
    labels = {"topic": "changelog"}
    assert registry.get_sample_value("weir_refused_messages_total", labels) == len(bad)
    assert "changelog[0]@6: not recovered" in caplog.text
    join = FeedbackJoin(TASKS, 10.0, LATENESS_S, state)
    assert (join.pending, join.watermark) == (1, START)
    join.advance(1_000_000)
    assert newest(join.emit()) == {"a": {"click": 0, "cart": 0, "deal": 0}}


def test_a_tombstone_takes_an_entry_away() -> None:
    """Entries are recovered in the order of the changelog."""
    messages = [Message(b"a", pending(START)), Message(b"a", None), Message(b"b", pending(START))]
    assert set(recovered(messages, CollectorRegistry())) == {b"b"}
