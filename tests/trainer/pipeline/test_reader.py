"""The reader of examples, on topics where others wrote what they liked."""

import asyncio

import pytest

from models.settings import Settings
from stream.kafka.batches import RefusedBatch
from stream.kafka.client import client_options
from tests.stream.kafka.batches.fetched import Row, batch, send_raw
from trainer.pipeline.reader import TopicReader

pytestmark = pytest.mark.broker
ROWS: list[Row] = [(5, b"k", b"%d" % n, []) for n in range(10)]


async def test_a_corrupt_batch_is_left_out_and_what_follows_is_read(settings: Settings) -> None:
    """A batch whose checksum stays wrong is counted with its offsets and stops no partition."""
    topics, client = settings.topics, client_options(settings.kafka)
    # The embedded broker takes the flag of log-append time off and leaves the checksum as it was.
    corrupt = batch(ROWS[:5], attributes=0x08)
    await send_raw(client, topics.examples, 1, [(batch(ROWS), 10), (corrupt, 5), (batch(ROWS), 10)])
    refused: list[RefusedBatch] = []
    reader = TopicReader(
        settings.kafka, (topics.examples, topics.outcomes), topics.models, refused.append
    )
    assert await reader.start(lambda _topic, _partition: 0, asyncio.Event())
    try:
        offsets: list[int] = []
        async with asyncio.timeout(60):
            while len(offsets) < 20:
                for records in (await reader.poll(200)).values():
                    offsets += [record.offset for record in records]
    finally:
        await reader.stop()
    assert offsets == [*range(10), *range(15, 25)]
    assert [(b.partition, b.offset, b.last_offset) for b in refused] == [(1, 10, 14)]
