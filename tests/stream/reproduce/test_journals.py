"""Journals on a topic that anybody may write to."""

import pytest
from aiokafka import AIOKafkaProducer

from models.settings import Settings
from stream.journal.blocks import BlockWriter
from stream.kafka.client import client_options
from stream.kafka.reader import TopicReader
from stream.messages.journal import Entry, FleetReset, Started, Stopped, write_entries, write_entry
from stream.reproduce.journals import BrokenJournalError, find_journals, read_journal

pytestmark = pytest.mark.broker
START = Started("one", 0, "1", b"{}")


async def test_what_is_of_no_journal_is_counted_with_its_place(settings: Settings) -> None:
    """Keys that name no worker; bytes that are no block, whoever's name they have, spoil none."""
    topic, writer = settings.topics.journal, BlockWriter()
    first, second = (
        block
        for entries in ([START, FleetReset()], [Stopped()])
        for block in writer.blocks(write_entries([write_entry(entry) for entry in entries]))
    )
    rows: list[tuple[bytes | None, bytes | None, int]] = [
        (None, b"x", 0), (b"\xff", b"x", 0), (b"w" * 300, b"x", 0),
        (b"one", first, 0), (b"one", b"elsewhere", 1), (b"two", b"no block", 0),
        (b"one", b"no block", 0), (b"one", None, 0), (b"one", second, 0), (b"one", second, 1),
    ]  # fmt: skip
    async with AIOKafkaProducer(**client_options(settings.kafka)) as producer:
        for key, value, partition in rows:
            await producer.send_and_wait(topic, value, key=key, partition=partition)
    async with TopicReader(settings.kafka, topic) as reader:
        journals, refused = await find_journals(reader)
        assert refused.count == 7
        assert {line.split(": ")[0] for line in refused.shown} == {
            f"{topic}[1]@0", *(f"{topic}[0]@{offset}" for offset in (0, 1, 2, 4, 5, 6)),
        }  # fmt: skip
        found: dict[tuple[str, int], list[Entry] | str] = {}
        for journal in journals:
            place = journal.worker, journal.partition.partition
            try:
                found[place] = [entry async for entry in read_journal(reader, journal)]
            except BrokenJournalError as error:
                found[place] = str(error)
    assert found["one", 0] == [START, FleetReset(), Stopped()]
    assert found["one", 1] == f"{topic}[1]@1: journal block: 1 follows -1"
    assert len(found) == 2
