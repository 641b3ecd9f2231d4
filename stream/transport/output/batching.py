"""Record batches: many records for one partition, packed by hand and acknowledged by all replicas.

Batches are filled here and given to aiokafka's `send_batch`: a future, a lock and a task per record
are what makes a producer slow.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError, UnknownTopicOrPartitionError

from stream.transport.chunk import Record, RecordTooLargeError
from stream.transport.output.building import AnyEnvelopeBatch, Batch, new_batch

logger = logging.getLogger(__name__)

MAX_BATCH_BYTES: Final = 1_000_000  # just under what brokers accept by default (message.max.bytes)
MIN_BATCH_BYTES: Final = 16_384  # any key, value and headers can be cut to fit
_AGAIN_S: Final = 0.5


def pack(
    producer: AIOKafkaProducer,
    topic: str,
    partition: int,
    records: Sequence[Record],
    batch_bytes: int,
    codec: str = "none",
) -> list[Batch]:
    """Cut `records` into full batches, to be sent once. Timestamps are in milliseconds.

    Args:
        producer: Whose batches they are.
        topic: Where they go, for messages.
        partition: Partition number, for messages.
        records: What to write, with any timestamps and headers.
        batch_bytes: Size of a batch, before it is packed.
        codec: What packs it: one of `stream.kafka.batches.CODECS`.

    Raises:
        RecordTooLargeError: If records do not fit a batch: all of them, for whoever replaces one
            at a time packs the others as often.
    """
    make = partial(new_batch, producer, batch_bytes, codec)
    try:
        return _fill(make, topic, partition, records, batch_bytes)
    except TypeError:  # the name of a header is not UTF-8
        slow = AnyEnvelopeBatch
        return _fill(
            lambda _: slow(producer, batch_bytes, codec), topic, partition, records, batch_bytes
        )


def _fill(
    make: Callable[[int], Batch],
    topic: str,
    partition: int,
    records: Sequence[Record],
    batch_bytes: int,
) -> list[Batch]:
    batches: list[Batch] = []
    too_large: dict[int, int] = {}
    append = _full
    for index, record in enumerate(records):
        at, key, value = record.timestamp, record.key, record.value
        headers = list(record.headers) if record.headers else []
        # Spelled out twice: passing the fields as a dict costs half as much again.
        if append(timestamp=at, key=key, value=value, headers=headers) is None:
            batch = make(at)
            append = batch.append
            append(timestamp=at, key=key, value=value, headers=headers)
            if batch.size() > batch_bytes:
                too_large[index] = batch.size()
                append = _full
                continue
            batches.append(batch)
    if too_large:
        raise RecordTooLargeError(topic, partition, too_large, batch_bytes)
    return batches


async def enqueue(
    producer: AIOKafkaProducer, topic: str, partition: int, batch: Batch
) -> asyncio.Future[Any]:
    """Give a batch to the producer: a future that is done when the broker has acknowledged it.

    Batches of a partition are written in the order in which they are enqueued. A broker that is
    slow or away, or a topic that is not there, holds the caller up for as long as it takes.

    Raises:
        KafkaError: If the producer takes no batches any more.
    """
    while True:
        try:
            if partition in await producer.partitions_for(topic):
                sent: asyncio.Future[Any] = await producer.send_batch(
                    batch, topic, partition=partition
                )
                return sent
            await producer.client.force_metadata_update()  # the topic has fewer partitions
        except KafkaTimeoutError:  # the batch before it is still waiting; this one was not taken
            logger.warning("%s[%d]: the broker takes no batches; waiting", topic, partition)
        except UnknownTopicOrPartitionError:
            logger.warning("%s: there is no such topic; waiting", topic)
        await asyncio.sleep(_AGAIN_S)


def _full(**_row: object) -> None:
    """The batch before the first one."""
