"""Consumes examples, outcomes and announcements: all partitions, without a group.

Examples and outcomes are read from the store's offsets, announcements from the beginning; of
transactions, those that were committed.

It waits for brokers that do not answer. If an offset is out of range (after retention, or because
the topic was created again), it logs that and continues with the oldest record.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, TopicAuthorizationFailedError

from models.settings import KafkaSettings
from stream.kafka.batches import CorruptBatchError, CorruptBatches, RefusedBatch
from stream.kafka.client import bounded_consumer, topic_partitions
from stream.kafka.connection import ConnectionFaultError, reach

logger = logging.getLogger(__name__)

#: Delay between two attempts to connect, and the number of failures per log line.
RETRY_S: Final = 2.0
LOG_EVERY: Final = 30
#: Delay after a failed poll.
FAILED_S: Final = 1.0
#: Records per poll: an example may have thousands of features, each decoded to an object.
MOST_RECORDS: Final = 500
#: Age from which a partition's end is no longer known, in seconds; fetches return twice a second.
FRESH_S: Final = 5.0
FirstOffset = Callable[[str, int], int]


class TopicReader:
    """Consumes the topics of the store and the announcements.

    Args:
        kafka: Settings of the connection.
        topics: Topics of the store.
        models: Topic of the announcements.
        refused: Called with every corrupt batch; consumption continues after it.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        topics: Sequence[str],
        models: str,
        refused: Callable[[RefusedBatch], None],
    ) -> None:
        self._kafka = kafka
        self._refused = refused
        self._topics = tuple(topics)
        self._models = TopicPartition(models, 0)
        self._partitions: list[TopicPartition] = []
        self._consumer: AIOKafkaConsumer | None = None
        self._failures = 0
        self._corrupt = CorruptBatches()

    async def start(self, offset: FirstOffset, stop: asyncio.Event) -> bool:
        """Connect, retrying until it succeeds; False if `stop` was set before.

        Args:
            offset: First offset of a partition of a topic of the store.
            stop: Ends the attempts.

        Raises:
            ConnectionFaultError: If the brokers refuse the client: retrying does not help.
            TopicAuthorizationFailedError: If the client may not read a topic.
        """
        while not stop.is_set():
            try:
                await self._connect(offset)
            except TopicAuthorizationFailedError:
                raise
            except (KafkaError, OSError):
                self._log_failure(await self._connection_fault())
            else:
                missing = self._missing()
                if not missing:
                    self._failures = 0
                    self._log_start(offset)
                    return True
                self._log_failure(f"{missing[0]}: the topic does not exist yet; see `weir topics`")
            await self.stop()
            await _wait(stop, RETRY_S)
        return False

    def _missing(self) -> list[str]:
        found = {tp.topic for tp in self._partitions}
        return [topic for topic in self._topics if topic not in found]

    def _log_start(self, offset: FirstOffset) -> None:
        for topic in self._topics:
            numbers = [tp.partition for tp in self._partitions if tp.topic == topic]
            first = {number: offset(topic, number) for number in numbers}
            logger.info("consuming %s from the offsets %s", topic, first)

    async def _connection_fault(self) -> str:
        """Reason of a failed connection; raised if retrying does not help."""
        try:
            await reach(self._kafka)
        except ConnectionFaultError as fault:
            if not fault.transient:
                raise
            return str(fault)
        return "the connection was lost"

    async def stop(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        if consumer is None:
            return
        try:
            await consumer.stop()
        except asyncio.CancelledError:
            # A fetch that waits before its retry, because its broker is away, ends like this.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            await consumer._client.close()  # noqa: SLF001 - what stop() did not get to

    async def poll(self, timeout_ms: int) -> Mapping[TopicPartition, list[Any]]:
        """New records by partition, in order of offset; empty after a failure."""
        consumer = self._started()
        try:
            try:
                fetched: Mapping[TopicPartition, list[Any]] = await consumer.getmany(
                    timeout_ms=timeout_ms, max_records=MOST_RECORDS
                )
            except OffsetOutOfRangeError as error:
                for tp, offset in error.args[0].items():
                    await self._reset_offset(consumer, tp, offset)
                return {}
        except TopicAuthorizationFailedError:
            raise
        except CorruptBatchError as error:
            await self._skip_batch(consumer, error)
            return {}
        except Exception as error:  # noqa: BLE001 - any fault of a batch or a broker
            topics = ", ".join(self._topics)
            self._log_failure(f"{topics}: cannot be read: {type(error).__name__}: {error}")
            await asyncio.sleep(FAILED_S)
            return {}
        return fetched

    async def _skip_batch(self, consumer: AIOKafkaConsumer, error: CorruptBatchError) -> None:
        """Skip a batch whose checksum is wrong every time that it is fetched."""
        tp = TopicPartition(error.topic, error.partition)
        batch = self._corrupt.count(error, consumer.highwater(tp))
        if batch is None:
            await asyncio.sleep(FAILED_S)
            return
        consumer.seek(tp, batch.last_offset + 1)
        self._refused(batch)

    async def announcements_read(self) -> bool:
        """Whether all announcements that were there have been returned by :meth:`poll`."""
        consumer = self._started()
        end = consumer.highwater(self._models)
        return end is not None and await consumer.position(self._models) >= end

    def unanswered_s(self, now_s: float) -> float:
        """Seconds since the last answer for the partition that has waited longest."""
        consumer = self._started()
        polled_ms = [consumer.last_poll_timestamp(tp) or 0 for tp in self._partitions]
        return now_s - min(polled_ms) / 1000

    async def lag(self) -> dict[TopicPartition, int]:
        """Consumer lag by partition of the store's topics, where it is known."""
        consumer = self._started()
        lag: dict[TopicPartition, int] = {}
        for tp in self._partitions:
            end, position = consumer.highwater(tp), await consumer.position(tp)
            if end is not None and end < position:  # not every broker reports this as an error
                await self._reset_offset(consumer, tp, position)
            elif end is not None:
                lag[tp] = end - position
        return lag

    async def has_read(self, topic: str, now_s: float) -> bool:
        """Whether everything that was written to a topic of the store has been consumed.

        False if a partition's end is not known, or its broker has not confirmed it lately.
        """
        consumer = self._started()
        for tp in self._partitions:
            if tp.topic == topic:
                end, answered_ms = consumer.highwater(tp), consumer.last_poll_timestamp(tp)
                if end is None or answered_ms is None or now_s - answered_ms / 1000 > FRESH_S:
                    return False
                if await consumer.position(tp) < end:
                    return False
        return True

    async def add_partitions(self, offset: FirstOffset) -> None:
        """Consume partitions that were added to the topics since the last call, too."""
        try:
            found = await self._all_partitions()
        except (KafkaError, OSError) as error:
            self._log_failure(f"no broker answers: {error}")
            return
        added = [tp for tp in found if tp not in self._partitions]
        if added:
            logger.info("%d partitions were added: %s", len(added), added)
            consumer = self._started()
            positions = {
                tp: await consumer.position(tp) for tp in [*self._partitions, self._models]
            }
            self._partitions += added
            consumer.assign([*self._partitions, self._models])
            for tp in self._partitions:
                first = positions.get(tp)
                consumer.seek(tp, offset(tp.topic, tp.partition) if first is None else first)
            consumer.seek(self._models, positions[self._models])

    async def _all_partitions(self) -> list[TopicPartition]:
        found = await topic_partitions(self._kafka, *self._topics)
        return [tp for topic in self._topics for tp in found[topic]]

    async def _connect(self, offset: FirstOffset) -> None:
        self._partitions = await self._all_partitions()
        if self._missing():
            return
        consumer = self._consumer = bounded_consumer(
            self._kafka,
            self._refused,
            auto_offset_reset="none",
            isolation_level="read_committed",
        )
        await consumer.start()
        consumer.assign([*self._partitions, self._models])
        for tp in self._partitions:
            consumer.seek(tp, offset(tp.topic, tp.partition))
        consumer.seek(self._models, 0)

    async def _reset_offset(
        self, consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int
    ) -> None:
        """Continue with the oldest record after an offset that is out of range."""
        first: int = (await consumer.beginning_offsets([tp]))[tp]
        if tp == self._models:
            consumer.seek(tp, first)
            return
        if first > offset:
            what = f"retention deleted the records before {first}; they were not learned from"
        else:
            what = "the topic was created again; it is consumed from its beginning"
        logger.error("%s[%d]@%d is out of range: %s", tp.topic, tp.partition, offset, what)
        consumer.seek(tp, first)

    def _log_failure(self, what: str) -> None:
        if self._failures % LOG_EVERY == 0:
            logger.error("%s; retrying", what)
        self._failures += 1

    def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise RuntimeError("the reader is not started")
        return self._consumer


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    """Wait until `stop` is set, but not longer than this."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
