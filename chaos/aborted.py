"""Counts records of aborted transactions, which only a read_uncommitted consumer sees."""

from aiokafka import AIOKafkaConsumer

from models.settings import Settings
from stream.kafka.client import client_options, topic_partitions


async def aborted_records(settings: Settings, committed: int) -> int:
    """Number of records on the output topics that no transaction committed.

    Args:
        settings: Brokers and topics.
        committed: Number of output records that a read_committed consumer sees.
    """
    topics = settings.topics
    found = await topic_partitions(settings.kafka, topics.passed, topics.blocked, topics.rejected)
    partitions = [tp for each in found.values() for tp in each]
    consumer = AIOKafkaConsumer(
        **client_options(settings.kafka),
        enable_auto_commit=False,
        isolation_level="read_uncommitted",
    )
    async with consumer:
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        written = 0
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            batches = await consumer.getmany(timeout_ms=500)
            written += sum(len(records) for records in batches.values())
    return written - committed
