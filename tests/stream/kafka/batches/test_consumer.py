"""The bounded consumer on a broker delivers pieces, within a limit shared by all partitions."""

import pytest
from aiokafka import TopicPartition

from models.settings import Settings
from stream.kafka.client import bounded_consumer, client_options
from tests.stream.kafka.batches.fetched import Row, batch, send_raw

pytestmark = pytest.mark.broker


async def test_all_partitions_of_a_fetch_share_its_room(settings: Settings) -> None:
    """Four partitions of records that unpack to 4 MB each come in pieces of one room together."""
    topic, room = settings.topics.outcomes, 1_000_000
    rows: list[Row] = [(1, b"k", bytes(20_000), []) for _ in range(200)]
    for number in range(4):
        await send_raw(
            client_options(settings.kafka), topic, number, [(batch(rows, codec="zstd"), 200)]
        )
    consumer = bounded_consumer(settings.kafka, max_partition_fetch_bytes=room)
    partitions = [TopicPartition(topic, number) for number in range(4)]
    await consumer.start()
    try:
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        offsets: dict[TopicPartition, list[int]] = {tp: [] for tp in partitions}
        while any(len(found) < 200 for found in offsets.values()):
            fetched = await consumer.getmany(timeout_ms=1000)
            size = sum(len(record.value) for records in fetched.values() for record in records)
            assert size <= room + 1_100_000  # and a piece of a batch
            for tp, records in fetched.items():
                offsets[tp] += [record.offset for record in records]
        assert all(found == list(range(200)) for found in offsets.values())
        assert (await consumer.getmany(timeout_ms=100)) == {}
    finally:
        await consumer.stop()


async def test_single_records_are_never_held_up(settings: Settings) -> None:
    """`getone` has the room of a fetch for each record."""
    topic = settings.topics.outcomes
    rows: list[Row] = [(1, b"k", bytes(20_000), []) for _ in range(120)]
    await send_raw(client_options(settings.kafka), topic, 0, [(batch(rows, codec="lz4"), 120)])
    consumer = bounded_consumer(settings.kafka, max_partition_fetch_bytes=100_000)
    await consumer.start()
    try:
        tp = TopicPartition(topic, 0)
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        assert [(await consumer.getone()).offset for _ in range(120)] == list(range(120))
    finally:
        await consumer.stop()
