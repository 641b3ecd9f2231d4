"""Records of a topic as one history, in the order in which they were published."""

import heapq
from collections.abc import AsyncIterator

from aiokafka import ConsumerRecord, TopicPartition

from models.settings import KafkaSettings
from stream.intercept.interceptor import timestamps
from stream.kafka.reader import TopicReader
from stream.messages import sequence_number
from stream.policy.rate.partition_clock import PartitionClock, in_milliseconds

Order = tuple[int, int, int, int]


async def merge_topic(
    kafka: KafkaSettings, topic: str, start_ms: int | None = None, end_ms: int | None = None
) -> AsyncIterator[ConsumerRecord]:
    """Records of ``topic`` in publishing order across its partitions.

    Args:
        kafka: Brokers.
        topic: Name of the topic.
        start_ms: First timestamp to include; None for the beginning of the topic.
        end_ms: First timestamp to exclude; None for the present end of the topic.

    Raises:
        TopicError: If the topic does not exist.
    """
    async with TopicReader(kafka, topic, keep=True) as reader:
        if start_ms is not None:
            await reader.from_time(start_ms)
        heads: list[tuple[Order, ConsumerRecord]] = []
        ahead = {tp.partition: _read_partition(reader, tp) for tp in reader.partitions}
        for records in ahead.values():
            await _push_next(heads, records)
        while heads:
            _order, record = heapq.heappop(heads)
            # the search by time may begin early, and timestamps need not be in order
            after = start_ms is None or start_ms <= record.timestamp
            if after and (end_ms is None or record.timestamp < end_ms):
                yield record
            await _push_next(heads, ahead[record.partition])


async def _read_partition(
    reader: TopicReader, tp: TopicPartition
) -> AsyncIterator[tuple[Order, ConsumerRecord]]:
    """The records of one partition, each with its sort key in the merged history."""
    clock, started = PartitionClock(), 0
    while not await reader.at_end(tp):
        fetched = (await reader.fetch([tp])).get(tp, ())
        records = [record for record in fetched if record.offset < reader.ends[tp]]
        times_N = in_milliseconds(timestamps(records))
        started = started or next((time for time in times_N.tolist() if time > 0), 0)
        for record, position in zip(records, clock.read(times_N).tolist(), strict=True):
            order = (
                started + position,
                sequence_number(record.headers),
                record.partition,
                record.offset,
            )
            yield order, record


async def _push_next(
    heads: list[tuple[Order, ConsumerRecord]],
    records: AsyncIterator[tuple[Order, ConsumerRecord]],
) -> None:
    head = await anext(records, None)
    if head is not None:
        heapq.heappush(heads, head)
