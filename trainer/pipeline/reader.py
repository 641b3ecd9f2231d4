"""Reads examples and announcements: all partitions, without a group, from where the store says.

Brokers that are away are waited for. An offset that is not there any more (retention, or a topic
made anew) is named, and reading goes on at the beginning of what is there.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, TopicAuthorizationFailedError

from models.settings import KafkaSettings
from stream.kafka.batches import CorruptBatchError, CorruptBatches, RefusedBatch
from stream.kafka.client import bounded_consumer, topic_partitions
from stream.kafka.connection import ConnectionFaultError, reach

logger = logging.getLogger(__name__)

#: Between two tries to reach the brokers, and every how many of them it is logged.
RETRY_S: Final = 2.0
LOG_EVERY: Final = 30
#: Between two polls after one that failed.
FAILED_S: Final = 1.0
#: Of one poll: an example may have thousands of features, each of which is an object at first.
MOST_RECORDS: Final = 500


class ExampleReader:
    """Consumes the examples topic and the announcements.

    Args:
        kafka: The brokers.
        examples: Topic of the examples.
        models: Topic of the announcements.
        refused: Told of every batch that cannot be read; what is behind it is read.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        examples: str,
        models: str,
        refused: Callable[[RefusedBatch], None],
    ) -> None:
        self._kafka = kafka
        self._refused = refused
        self._examples = examples
        self._models = TopicPartition(models, 0)
        self._partitions: list[TopicPartition] = []
        self._consumer: AIOKafkaConsumer | None = None
        self._failures = 0
        self._corrupt = CorruptBatches()

    async def start(self, offsets: Mapping[int, int], stop: asyncio.Event) -> bool:
        """Connect, however long that takes; False if `stop` was set before.

        Args:
            offsets: Where each partition of the examples begins, 0 where it is not named.
            stop: Ends the wait.

        Raises:
            ConnectionFaultError: If the brokers refuse the client, which waiting does not mend.
            TopicAuthorizationFailedError: If it may not read a topic.
        """
        while not stop.is_set():
            try:
                await self._connect(offsets)
            except TopicAuthorizationFailedError:
                raise
            except (KafkaError, OSError):
                self._log_failure(await self._why())
            else:
                if self._partitions:
                    self._failures = 0
                    where = {tp.partition: offsets.get(tp.partition, 0) for tp in self._partitions}
                    logger.info("consuming %s from the offsets %s", self._examples, where)
                    return True
                self._log_failure(
                    f"{self._examples}: there is no such topic yet; see `weir topics`"
                )
            await self.stop()
            await _first_of(stop, RETRY_S)
        return False

    async def _why(self) -> str:
        """Why there is no connection; raised where waiting does not mend it."""
        try:
            await reach(self._kafka)
        except ConnectionFaultError as fault:
            if not fault.transient:
                raise
            return str(fault)
        return "the connection broke"

    async def stop(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def poll(self, timeout_ms: int) -> Mapping[TopicPartition, list[Any]]:
        """What has come, by partition, in order; nothing while it cannot be read."""
        consumer = self._started()
        try:
            try:
                fetched: Mapping[TopicPartition, list[Any]] = await consumer.getmany(
                    timeout_ms=timeout_ms, max_records=MOST_RECORDS
                )
            except OffsetOutOfRangeError as error:
                for tp, offset in error.args[0].items():
                    await self._begin_again(consumer, tp, offset)
                return {}
        except TopicAuthorizationFailedError:
            raise
        except CorruptBatchError as error:
            await self._leave_out(consumer, error)
            return {}
        except Exception as error:  # noqa: BLE001 - whatever a batch or a broker brought about
            self._log_failure(f"{self._examples}: cannot be read: {type(error).__name__}: {error}")
            await asyncio.sleep(FAILED_S)
            return {}
        return fetched

    async def _leave_out(self, consumer: AIOKafkaConsumer, error: CorruptBatchError) -> None:
        """Go on behind a batch whose checksum is wrong each time."""
        tp = TopicPartition(error.topic, error.partition)
        batch = self._corrupt.met(error, consumer.highwater(tp))
        if batch is None:
            await asyncio.sleep(FAILED_S)
            return
        consumer.seek(tp, batch.last_offset + 1)
        self._refused(batch)

    def silent_s(self, now_s: float) -> float:
        """For how long a broker has not answered for some partition, in seconds."""
        consumer = self._started()
        polled_ms = [consumer.last_poll_timestamp(tp) or 0 for tp in self._partitions]
        return now_s - min(polled_ms) / 1000

    async def lag(self) -> dict[int, int]:
        """Records behind the end, by partition, where that is known."""
        consumer = self._started()
        lag: dict[int, int] = {}
        for tp in self._partitions:
            end, position = consumer.highwater(tp), await consumer.position(tp)
            if end is not None and end < position:  # not every broker says so by itself
                await self._begin_again(consumer, tp, position)
            elif end is not None:
                lag[tp.partition] = end - position
        return lag

    async def grow(self, offsets: Mapping[int, int]) -> None:
        """Read partitions that were added to the topic, too."""
        try:
            found = await topic_partitions(self._kafka, self._examples)
        except (KafkaError, OSError) as error:
            self._log_failure(f"no broker answers: {error}")
            return
        added = [tp for tp in found[self._examples] if tp not in self._partitions]
        if added:
            logger.info("%s has %d more partitions", self._examples, len(added))
            consumer = self._started()
            where = {tp: await consumer.position(tp) for tp in [*self._partitions, self._models]}
            self._partitions += added
            consumer.assign([*self._partitions, self._models])
            for tp in self._partitions:
                consumer.seek(tp, where.get(tp, offsets.get(tp.partition, 0)))
            consumer.seek(self._models, where[self._models])

    async def _connect(self, offsets: Mapping[int, int]) -> None:
        found = await topic_partitions(self._kafka, self._examples)
        self._partitions = found[self._examples]
        if not self._partitions:
            return
        consumer = self._consumer = bounded_consumer(
            self._kafka, self._refused, auto_offset_reset="none"
        )
        await consumer.start()
        consumer.assign([*self._partitions, self._models])
        for tp in self._partitions:
            consumer.seek(tp, offsets.get(tp.partition, 0))
        consumer.seek(self._models, 0)

    async def _begin_again(
        self, consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int
    ) -> None:
        """What was to be read next is not there: go on with the oldest that is."""
        first: int = (await consumer.beginning_offsets([tp]))[tp]
        if tp == self._models:
            consumer.seek(tp, first)
            return
        if first > offset:
            what = f"retention removed the examples before {first}; they were never learned"
        else:
            what = "the topic was made anew; what it holds is read from its beginning"
        logger.error("%s[%d]@%d is not there: %s", tp.topic, tp.partition, offset, what)
        consumer.seek(tp, first)

    def _log_failure(self, what: str) -> None:
        if self._failures % LOG_EVERY == 0:
            logger.error("%s; trying on", what)
        self._failures += 1

    def _started(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            raise RuntimeError("the reader is not started")
        return self._consumer


async def _first_of(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
