"""Readers without a consumer group, on topics with batches that cannot be read."""

import gzip

import pytest

from models.settings import Settings
from stream.kafka.batches import CODECS, RefusedBatch
from stream.kafka.client import client_options
from stream.kafka.reader import TopicReader, read_topic
from stream.kafka.topics import TopicError
from tests.stream.kafka.batches.fetched import Row, batch, frame, payload_of, row_of, send_raw

pytestmark = pytest.mark.broker
ROWS: list[Row] = [(5, b"k", b"%d" % n, [(b"\xff", None)]) for n in range(10)]


async def test_a_batch_that_cannot_be_unpacked_is_skipped_and_reported(settings: Settings) -> None:
    """Every codec is read; a decompression bomb between is reported once, with its offsets."""
    zeros: list[Row] = [(1, None, bytes(20_000_000), [])]
    bomb = frame(gzip.compress(payload_of(zeros)), base=0, count=1, attributes=1)
    batches = [(batch(ROWS, codec=codec), 10) for codec in CODECS]
    topic, client = settings.topics.control, client_options(settings.kafka)
    await send_raw(client, topic, 0, [*batches[:3], (bomb, 1), *batches[3:]])
    refused: list[RefusedBatch] = []
    async with TopicReader(settings.kafka, topic, refused.append) as reader:
        found = [record async for _, records in reader.batches() for record in records]
    assert [row_of(record) for record in found] == ROWS * len(CODECS)
    assert [(b.partition, b.offset, b.last_offset) for b in refused] == [(0, 30, 30)]


async def test_a_reader_that_keeps_refused_batches_returns_them_in_their_place(
    settings: Settings,
) -> None:
    """The verifier counts them."""
    topic, client = settings.topics.outcomes, client_options(settings.kafka)
    await send_raw(client, topic, 0, [(batch(ROWS), 10)])
    small = settings.override({"kafka.max_unpacked_bytes": 1_048_576})
    zeros: list[Row] = [(1, None, bytes(2_000_000), []), (1, None, b"x", [])]
    bad = frame(gzip.compress(payload_of(zeros)), base=0, count=2, attributes=1)
    await send_raw(client, topic, 0, [(bad, 2), (batch(ROWS), 10)])
    async with TopicReader(small.kafka, topic, keep=True) as reader:
        found = [record async for _, records in reader.batches() for record in records]
    assert [record.offset for record in found] == [*range(11), *range(12, 22)]
    assert isinstance(found[10], RefusedBatch)
    assert len([record async for record in read_topic(settings.kafka, topic)]) == 22


async def test_a_corrupt_batch_is_skipped_and_the_next_ones_are_read(settings: Settings) -> None:
    """A reader goes on after it, but one that must not miss a record gets an error."""
    topic, client = settings.topics.control, client_options(settings.kafka)
    # The embedded broker clears the flag of log-append time and keeps the checksum.
    corrupt = batch(ROWS[:5], attributes=0x08)
    await send_raw(client, topic, 0, [(batch(ROWS), 10), (corrupt, 5), (batch(ROWS), 10)])
    refused: list[RefusedBatch] = []
    async with TopicReader(settings.kafka, topic, refused.append) as reader:
        found = [record.offset async for _, records in reader.batches() for record in records]
    assert found == [*range(10), *range(15, 25)]
    assert [(b.topic, b.partition, b.offset, b.last_offset) for b in refused] == [
        (topic, 0, 10, 14)
    ]
    assert len([record async for record in read_topic(settings.kafka, topic)]) == 20
    with pytest.raises(TopicError, match=r"\[0\]@10: the checksum"):
        async with TopicReader(settings.kafka, topic, keep=True) as reader:
            assert [records async for _, records in reader.batches()]
