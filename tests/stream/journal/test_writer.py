"""The writer of a journal, on a real broker."""

import asyncio
import logging
import time

import pytest
from prometheus_client import CollectorRegistry

from models.settings import Settings
from stream.journal import writer as module
from stream.journal.metrics import JournalMetrics
from stream.journal.recorder import Recorder
from stream.journal.writer import JournalWriter
from stream.kafka.reader import TopicReader
from stream.kafka.topics import TopicError
from stream.messages.journal import Entry, FleetReset, Started, Stopped
from stream.reproduce.journals import find_journals, read_journal

pytestmark = pytest.mark.broker
DEADLINE_S = 30.0


async def entries(settings: Settings) -> dict[str, list[Entry]]:
    async with TopicReader(settings.kafka, settings.topics.journal) as reader:
        journals, refused = await find_journals(reader)
        assert not refused.count
        return {each.worker: [e async for e in read_journal(reader, each)] for each in journals}


def writer_of(
    settings: Settings, worker: str, recorder: Recorder
) -> tuple[JournalWriter, CollectorRegistry]:
    registry = CollectorRegistry()
    recorder.start(worker, 7, settings)
    return JournalWriter(settings, worker, recorder, JournalMetrics(registry)), registry


async def test_two_journals_come_back_whole(settings: Settings) -> None:
    """Written side by side, while entries come; each ends with its stop."""
    recorders = {name: Recorder() for name in ("one", "two")}
    writers = [writer_of(settings, name, recorder) for name, recorder in recorders.items()]
    for writer, _ in writers:
        await writer.start()
    for number in range(40):
        recorders["one" if number % 4 else "two"].add(FleetReset())
        await asyncio.sleep(0.02)
    for writer, _ in writers:
        await writer.stop()
    found = await entries(settings)
    for name, count in {"one": 30, "two": 10}.items():
        start, *rest = found[name]
        assert isinstance(start, Started)
        assert (start.worker, start.at_ms) == (name, 7)
        assert rest == [*[FleetReset()] * count, Stopped()]
    sizes = [registry.get_sample_value("weir_journal_bytes_total") for _, registry in writers]
    assert all(size and size > 300 for size in sizes)


async def test_without_its_topic_a_worker_does_not_start(settings: Settings) -> None:
    """The error names the topic, the setting and the command."""
    absent = settings.override({"topics.journal": "absent"})
    writer, _ = writer_of(absent, "one", Recorder())
    with pytest.raises(TopicError, match=r"absent: .* worker\.journal is set; `weir topics`"):
        await writer.start()
    await writer.stop()


async def test_a_journal_that_ends_is_logged_and_shown(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """More waits than memory allows: the journal ends where it is, and the worker goes on."""
    monkeypatch.setattr(module, "WRITE_S", 0.05)
    recorder = Recorder(max_pending_bytes=8_000)
    writer, registry = writer_of(settings, "one", recorder)
    await writer.start()
    with caplog.at_level(logging.ERROR):
        for _ in range(10_000):  # in one turn of the loop, so that none is written in between
            recorder.add(FleetReset())
        deadline = time.monotonic() + DEADLINE_S
        while registry.get_sample_value("weir_journal_ended") != 1:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
    await writer.stop()
    assert "its later decisions cannot be reproduced" in caplog.text
    assert [type(entry) for entry in (await entries(settings))["one"]] == [Started]
