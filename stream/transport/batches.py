"""Record batches: many records for one partition, packed by hand and acknowledged by all replicas.

Uses aiokafka's `create_batch` and `send_batch`, because a future, a lock and a task per record are
what makes a producer slow.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.producer.message_accumulator import BatchBuilder

from stream.transport.chunk import Record, RecordTooLargeError

logger = logging.getLogger(__name__)

MAX_BATCH_BYTES: Final = 1_000_000  # just under what brokers accept by default (message.max.bytes)


async def write_batches(
    producer: AIOKafkaProducer,
    topic: str,
    partition: int,
    records: Sequence[Record],
    batch_bytes: int,
) -> None:
    """Write `records` in order; returns when the broker has acknowledged all of them.

    A broker that is slow or away holds the caller up for as long as it takes.

    Args:
        producer: A started producer whose ``max_batch_size`` is `batch_bytes`.
        topic: Where to write.
        partition: Partition number.
        records: What to write.
        batch_bytes: Size of a batch.

    Raises:
        RecordTooLargeError: If a record does not fit a batch; nothing was written.
        KafkaError: If the broker did not take a batch; batches before it may have been written.
    """
    batches = _pack(producer, topic, partition, records, batch_bytes)
    await asyncio.gather(*[await _send(producer, topic, partition, batch) for batch in batches])


async def _send(
    producer: AIOKafkaProducer, topic: str, partition: int, batch: BatchBuilder
) -> asyncio.Future[Any]:
    while True:
        try:
            sent: asyncio.Future[Any] = await producer.send_batch(batch, topic, partition=partition)
        except (
            KafkaTimeoutError
        ):  # the batch before it could not be sent yet; this one was not taken
            logger.warning("%s[%d]: the broker takes no batches; waiting", topic, partition)
        else:
            return sent


def _pack(
    producer: AIOKafkaProducer,
    topic: str,
    partition: int,
    records: Sequence[Record],
    batch_bytes: int,
) -> list[BatchBuilder]:
    """Cut `records` into full batches. Timestamps are in milliseconds."""
    batches: list[BatchBuilder] = []
    append = _full
    for index, record in enumerate(records):
        at, key, value = record.timestamp, record.key, record.value
        headers = list(record.headers) if record.headers else []
        # Spelled out twice: passing the fields as a dict costs half as much again.
        if append(timestamp=at, key=key, value=value, headers=headers) is None:
            batch = producer.create_batch()
            append = batch.append
            append(timestamp=at, key=key, value=value, headers=headers)
            if batch.size() > batch_bytes:
                raise RecordTooLargeError(topic, partition, index, batch.size(), batch_bytes)
            batches.append(batch)
    return batches


def _full(**_row: object) -> None:
    """The batch before the first one."""


async def batch_limit(client: Mapping[str, Any], topics: Iterable[str]) -> int:
    """Largest batch in bytes that all of `topics` take (their ``max.message.bytes``).

    Brokers that do not tell (the embedded one; a missing DescribeConfigs permission) are taken to
    have the default.

    Raises:
        KafkaError: If no broker can be reached.
    """
    limit = MAX_BATCH_BYTES
    admin = AIOKafkaAdminClient(**client)
    await admin.start()
    try:
        resources = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics]
        for answer in await admin.describe_configs(resources) if resources else []:
            for _code, _message, _type, _name, entries in answer.resources:
                told = {entry[0]: entry[1] for entry in entries}
                limit = min(limit, int(told.get("max.message.bytes") or limit))
    except KafkaError as error:
        logger.info("batches of %d bytes: the broker does not tell its limit (%r)", limit, error)
    finally:
        await admin.close()
    return limit
