"""Record batches: many records for one partition, batched here instead of by the producer.

Batches are filled here and passed to aiokafka's `send_batch`: its `send` costs a future, a lock and
a task per record.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaTimeoutError, UnknownTopicOrPartitionError

from stream.transport.chunk import Record, RecordTooLargeError
from stream.transport.output.batch_builder import AnyEnvelopeBatch, Batch, new_batch

logger = logging.getLogger(__name__)

MAX_BATCH_BYTES: Final = 1_000_000  # just under what brokers accept by default (message.max.bytes)
MIN_BATCH_BYTES: Final = 16_384  # any key, value and headers can be truncated to fit
_RETRY_S: Final = 0.5


def build_batches(
    producer: AIOKafkaProducer,
    topic: str,
    partition: int,
    records: Sequence[Record],
    batch_bytes: int,
    codec: str = "none",
) -> list[Batch]:
    """Fill batches with `records`; each can be sent once. Timestamps are in milliseconds.

    Args:
        producer: The producer that will send them.
        topic: Topic, for error messages.
        partition: Partition number, for error messages.
        records: Records to write, with any timestamps and headers.
        batch_bytes: Maximum size of a batch, uncompressed.
        codec: Codec of the batches: one of `stream.kafka.batches.CODECS`.

    Raises:
        RecordTooLargeError: If records do not fit a batch. It names all of them at once: a caller
            that replaced one at a time would fill the batches again for each.
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
        # Spelled out twice: passing the fields as a dict takes 50 % more time.
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
    """Pass a batch to the producer; the future returned is done once the broker acknowledged it.

    Batches of a partition are written in the order in which they are enqueued. While brokers are
    slow or unreachable, or the topic is missing, this waits, without a limit.

    Raises:
        KafkaError: If the producer has failed and accepts no batches any more.
    """
    while True:
        try:
            if partition in await producer.partitions_for(topic):
                sent: asyncio.Future[Any] = await producer.send_batch(
                    batch, topic, partition=partition
                )
                return sent
            await producer.client.force_metadata_update()  # the topic has fewer partitions
        except KafkaTimeoutError:  # the batch before it is still waiting; this one was not accepted
            logger.warning("%s[%d]: the broker accepts no batches; retrying", topic, partition)
        except UnknownTopicOrPartitionError:
            logger.warning("%s: the topic does not exist; retrying", topic)
        await asyncio.sleep(_RETRY_S)


def _full(**_row: object) -> None:
    """Stands for the batch before the first one: it accepts no record."""
