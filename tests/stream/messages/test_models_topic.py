"""The topic ``models``, written and read from outside the workers."""

import getpass
import socket

import pytest
from aiokafka import AIOKafkaProducer

from models.bounds import MAX_REASON
from models.settings import Settings
from stream.kafka.client import client_options
from stream.kafka.reader import read_topic
from stream.messages import Cause, ModelAnnouncement
from stream.messages.models_topic import AnnouncementError, announce, announcer, read_history

ONE = ModelAnnouncement("v1", "registry/v1", "0" * 64, 5, by="a@b", cause=Cause.PROMOTE)


@pytest.mark.broker
async def test_the_history_is_what_was_announced(settings: Settings) -> None:
    """In order, with the time of the record; a record that is no announcement is skipped."""
    assert await announce(settings, ONE) == 0
    async with AIOKafkaProducer(**client_options(settings.kafka)) as producer:
        for value in (b"{", None, b"\xff" * 100):
            await producer.send_and_wait(settings.topics.models, value, key=b"default")
        foreign = ModelAnnouncement("v2", "elsewhere/v2", "1" * 64, 6).to_bytes()
        await producer.send_and_wait(settings.topics.models, foreign, timestamp_ms=7_000)
    everything = (await read_history(settings)).announced
    assert [(a.version, a.offset) for a in everything] == [("v1", 0), ("v2", 4)]
    assert everything[0].announcement == ONE
    assert everything[0].ts > 1_600_000_000_000
    assert everything[1].ts == 7_000
    mine = await read_history(settings, lambda one: one.url.startswith("registry/"))
    assert [a.version for a in mine.announced] == ["v1"]
    keys = [record.key async for record in read_topic(settings.kafka, settings.topics.models)]
    assert keys[0] == ONE.key


@pytest.mark.broker
async def test_what_workers_would_refuse_is_not_written(settings: Settings) -> None:
    """A reason that is too long is an error here, not an announcement without effect."""
    long = ModelAnnouncement("v1", "registry/v1", "0" * 64, 5, reason="x" * (MAX_REASON + 1))
    with pytest.raises(AnnouncementError, match="reason"):
        await announce(settings, long)
    assert (await read_history(settings)).announced == ()


def test_who_announces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user and a host; a number where the user has no name, as in a container."""
    assert announcer("trainer") == f"trainer@{socket.gethostname()}"
    assert announcer() == f"{getpass.getuser()}@{socket.gethostname()}"

    def nameless() -> str:
        raise KeyError("uid not found: 4711")

    monkeypatch.setattr("getpass.getuser", nameless)
    monkeypatch.setattr("os.getuid", lambda: 4711)
    assert announcer() == f"4711@{socket.gethostname()}"
