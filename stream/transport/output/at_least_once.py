"""At least once: a sink that writes a chunk's outputs and leaves its offset to the consumer."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from aiokafka.errors import UnknownError, UnsupportedVersionError

from stream.trace.watch import requests
from stream.transport.chunk import Chunk, Instead, Outputs, Record, RecordsRefusedError
from stream.transport.incidents import Incidents
from stream.transport.log_throttle import throttle_client_logs
from stream.transport.output.batch_builder import Batch
from stream.transport.output.batching import MAX_BATCH_BYTES, build_batches, enqueue
from stream.transport.output.output_topics import OutputTopics
from stream.transport.output.producer import BatchRefusedError, Producer
from stream.transport.output.sink import Member
from stream.transport.output.slow_writes import SlowWrites

logger = logging.getLogger(__name__)


class ChunkSink:
    """Writes with ``acks=all``; an async context manager.

    Args:
        client: Options of the aiokafka client: bootstrap servers and security.
        topics: Topics to write to; batches keep to the smallest ``max.message.bytes`` of them.
        max_batch_bytes: Another upper limit for a batch.
        compression: Codec of the batches: one of `stream.kafka.batches.CODECS`.
        incidents: Missing topics and throttling are reported to it.

    The producer is idempotent (the broker drops duplicates of a retry) if the broker supports
    producer ids. The embedded one does not; `idempotent` says so after the start.
    """

    commits = False

    def __init__(
        self,
        client: Mapping[str, Any],
        topics: Iterable[str] = (),
        *,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        compression: str = "none",
        incidents: Incidents | None = None,
    ) -> None:
        self._options = dict(client)
        self._incidents = incidents or Incidents()
        self._topics = OutputTopics(client, topics)
        self._slow = SlowWrites(self._topics.diagnose, self._incidents)
        self._batch_bytes = max_batch_bytes
        self._compression = compression
        self._producer: Producer | None = None
        self._locks: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        self.idempotent = True

    async def start(self) -> None:
        """Connect.

        Raises:
            KafkaError: If no broker can be reached, or it refuses the client.
        """
        throttle_client_logs()
        await self._topics.start()
        if self._topics.topics:
            self._batch_bytes = min(self._batch_bytes, self._topics.batch_bytes)
        try:
            self._producer = await self._connect()
        except (UnknownError, UnsupportedVersionError) as error:
            logger.warning(
                "the broker does not support producer ids (%s; the embedded broker has none): a "
                "retry may write records twice",
                type(error).__name__,
            )
            self.idempotent = False
            self._producer = await self._connect()
        self._slow.start()

    async def _connect(self) -> Producer:
        producer = Producer(
            self._incidents, **self._options, acks="all", enable_idempotence=self.idempotent
        )
        requests.add(producer.client)
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    async def stop(self) -> None:
        """Finish writes in progress, for `producer.CLOSE_S` at most, and disconnect."""
        await self._slow.stop()
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.disconnect()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def filtered(self, partitions: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Which partitions were filtered before; see `OutputTopics.filtered`."""
        return await self._topics.filtered(partitions)

    async def claim(self, partitions: Iterable[tuple[str, int]], _member: Member) -> None:
        """Add missing partitions. Nothing is fenced: two owners of a partition may both write."""
        await self._topics.fit(partitions)

    async def drain(self) -> None:
        """Do nothing: writes in progress continue."""

    async def release(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Do nothing: nothing is held per partition."""

    async def write(self, chunk: Chunk, outputs: Outputs, instead: Instead | None = None) -> None:
        """Write a chunk's outputs; see `Sink.write`. On an error some may have been written.

        Records that a topic's configuration does not allow are replaced before anything is written.
        A batch that the broker then refuses is written again without the refused records, after
        what was written meanwhile.
        """
        with self._slow.writing(chunk.partition, (t for t, rows in outputs.items() if rows)):
            while outputs:
                outputs, batches = self._build_all(chunk.partition, outputs, instead)
                refused = await asyncio.gather(
                    *(self._deliver(topic, chunk.partition, batches[topic]) for topic in outputs)
                )
                outputs = _remaining(
                    outputs, [error for errors in refused for error in errors], instead
                )

    def _build_all(
        self, partition: int, outputs: Outputs, instead: Instead | None
    ) -> tuple[Outputs, dict[str, list[Batch]]]:
        """Outputs, with those that topics do not accept replaced, and their batches."""
        while True:
            try:
                return outputs, {
                    topic: self._build(topic, partition, records)
                    for topic, records in outputs.items()
                }
            except RecordsRefusedError as error:
                if instead is None:
                    raise
                outputs = instead(outputs, error)

    async def send(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """Write `records` in order; returns when the broker has acknowledged all of them.

        Any number of calls may be in progress; those for one partition are written in call order.

        Raises:
            RecordsRefusedError: If a record does not fit a batch, or the topic does not accept it;
                nothing of its batch was written.
            KafkaError: If the broker did not accept a batch; batches before it may have been
                written, so the caller must not acknowledge their source.
        """
        batches = self._build(topic, partition, records)
        with self._slow.writing(partition, (topic,)):
            for refused in await self._deliver(topic, partition, batches):
                raise refused

    def _build(self, topic: str, partition: int, records: Sequence[Record]) -> list[Batch]:
        self._topics.check(topic, partition, records)
        producer, codec = self._started(), self._compression
        return build_batches(producer, topic, partition, records, self._batch_bytes, codec)

    async def _deliver(
        self, topic: str, partition: int, batches: Sequence[Batch]
    ) -> list["SliceRefusedError"]:
        """Write batches in order; returns an error for each that the topic refused."""
        producer = self._started()
        async with self._locks[topic, partition]:
            sent = [await enqueue(producer, topic, partition, batch) for batch in batches]
        refused = []
        for number, answer in enumerate(await asyncio.gather(*sent, return_exceptions=True)):
            if isinstance(answer, BatchRefusedError):
                first = sum(batch.record_count() for batch in batches[:number])
                count = batches[number].record_count()
                refused.append(SliceRefusedError(topic, partition, first, count, answer))
            elif isinstance(answer, BaseException):
                raise answer
        return refused

    def _started(self) -> Producer:
        if self._producer is None:
            raise RuntimeError("the sink is not started")
        return self._producer


class SliceRefusedError(RecordsRefusedError):
    """A batch that a topic refused.

    Attributes:
        first: Index of its first record in the records of its topic.
        count: Number of its records.
    """

    def __init__(
        self, topic: str, partition: int, first: int, count: int, error: BatchRefusedError
    ) -> None:
        super().__init__(topic, partition, [first + index for index in error.indices], error.why)
        self.first = first
        self.count = count


def _remaining(
    outputs: Outputs, refused: Sequence[SliceRefusedError], instead: Instead | None
) -> Outputs:
    """What is still to be written after some batches were refused: their replacements."""
    left: dict[str, list[Record]] = {topic: [] for topic in outputs} if refused else {}
    for batch in refused:
        if instead is None:
            raise batch
        rows = outputs[batch.topic][batch.first : batch.first + batch.count]
        part: Outputs = dict.fromkeys(outputs, ()) | {batch.topic: rows}
        mine = batch.within(batch.first, batch.first + batch.count)
        for topic, records in instead(part, mine).items():
            left[topic] += records
    return left
