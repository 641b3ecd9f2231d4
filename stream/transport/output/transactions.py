"""The transactional producer of a worker, and the committed offsets of its partitions."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from stream.trace.watch import requests
from stream.transport.chunk import Outputs, RecordsRefusedError
from stream.transport.concurrency import all_of, at_most
from stream.transport.incidents import Incidents
from stream.transport.lanes.pending import Key
from stream.transport.lanes.state import RefusedError, SlowError
from stream.transport.output.batch_builder import Batch
from stream.transport.output.batching import build_batches, enqueue
from stream.transport.output.group_offsets import committed
from stream.transport.output.output_topics import OutputTopics
from stream.transport.output.producer import BatchRefusedError, Producer, retrieve
from stream.transport.output.sink import Member

logger = logging.getLogger(__name__)

END_S: Final = 2.0  # to end the transaction of a lane that is released, so that nobody waits for it

#: The markers of a transaction that has ended are written within milliseconds. An offset that is
#: not stable after this time belongs to one that nobody ends.
MARKERS_S: Final = 0.3
_POLL_S: Final = 0.05

#: For so long the writes of all partitions of a transaction wait for the slowest one.
PATIENCE_S: Final = 3.0

TopicBatches = dict[str, list[Batch]]  # by topic


@dataclass(frozen=True)
class Identity:
    """On whose behalf a producer writes.

    Attributes:
        group: The consumer group.
        member: The member of the group that owns the partitions, and its generation.
        prefix: First part of the transactional ids of all workers.
        name: Second part; unique to this process.
    """

    group: str
    member: Member
    prefix: str
    name: str

    @property
    def transactional_id(self) -> str:
        """The transactional id."""
        return self.prefix + self.name


class KafkaTransactions:
    """A worker's transactional producer; see `lanes.lane.Transactions`.

    The transactional id is committed with every offset, as its metadata. If a worker dies in a
    transaction, the next owner of its partitions finds the id there and ends the transaction.

    Args:
        options: Options of the aiokafka producer.
        identity: On whose behalf it writes.
        topics: The output topics and their limits.
        incidents: Throttling is reported to it.
        codec: Codec of the batches.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        identity: Identity,
        topics: OutputTopics,
        incidents: Incidents,
        *,
        codec: str = "none",
    ) -> None:
        self._options = dict(options)
        self._identity = identity
        self._topics = topics
        self._incidents = incidents
        self._codec = codec
        self._producer: Producer | None = None
        self._open = False  # whether the broker may have an open transaction

    # -- claiming

    async def claim(self, keys: Collection[Key]) -> Mapping[Key, int]:
        """Take a new epoch and wait for stable offsets; see `lanes.lane.Transactions.claim`."""
        before, self._producer = self._producer, None
        producer = self._producer = self._new_producer(self._identity.transactional_id)
        try:
            await producer.start()
            self._open = False
        finally:
            if before is not None:
                await before.abandon()
        since_s, ended = monotonic(), set[str]()
        while True:
            found = await committed(producer, self._identity.group, keys)
            if not found.unstable:
                return found.offsets
            if monotonic() - since_s >= MARKERS_S:
                ended |= await self._end_predecessors(producer, found.unstable, ended)
            await asyncio.sleep(_POLL_S)

    async def _end_predecessors(
        self, producer: Producer, keys: Collection[Key], ended: Collection[str]
    ) -> set[str]:
        """End the transactions of those who committed last; returns their ids, but `ended`.

        Those of live workers are no harm: the producer claims and repeats its transaction. What is
        not found here ends at its timeout.
        """
        last = await committed(producer, self._identity.group, keys, stable=False)
        prefix, mine = self._identity.prefix, self._identity.transactional_id
        names = {
            name
            for name in last.metadata.values()
            if name.startswith(prefix) and name != mine and name not in ended
        }
        if names:
            logger.info("ending transactions of %s, owners of %s", sorted(names), sorted(keys))
        await all_of(*(self._end_predecessor(name) for name in names))
        return names

    async def _end_predecessor(self, name: str) -> None:
        """End its transaction, for `END_S` at most.

        It is aborted with the first request; the broker's answer waits for the slowest partition.
        """
        try:
            async with asyncio.timeout(END_S):
                await self._end(name)
        except (KafkaError, TimeoutError) as error:
            logger.warning("the transaction of %s may end only at its timeout: %r", name, error)

    def _new_producer(self, name: str) -> Producer:
        options = {**self._options, "transactional_id": name}
        producer = Producer(self._incidents, self._identity.member, **options)
        requests.add(producer.client)
        return producer

    async def _end(self, name: str) -> None:
        """End an open transaction of this id; its producer has to claim again."""
        producer = self._new_producer(name)
        try:
            await producer.start()
        finally:
            await producer.disconnect()

    # -- writing

    def build(self, key: Key, outputs: Outputs) -> TopicBatches:
        """Build record batches; see `lanes.lane.Transactions.build`."""
        producer, (_, partition) = self._ready(), key
        size = self._topics.batch_bytes
        for topic, records in outputs.items():
            self._topics.check(topic, partition, records)
        return {
            topic: build_batches(producer, topic, partition, records, size, self._codec)
            for topic, records in outputs.items()
            if records
        }

    async def begin(self) -> None:
        """Begin a transaction."""
        await self._ready().begin_transaction()
        self._open = True

    async def write(
        self,
        batches: Mapping[Key, TopicBatches],
        offsets: Mapping[Key, int],
        waited_for: Callable[[Collection[Key]], bool],
    ) -> None:
        """Write into the transaction; see `lanes.lane.Transactions.write`.

        The first batch of every partition is enqueued before the offsets, so that
        AddPartitionsToTxn is the first request, and one for all of them: if the previous
        transaction has not ended yet, it is retried after `producer.NEXT_TRANSACTION_S`, whereas
        AddOffsetsToTxn is retried after 100 ms.
        """
        writes = {key: asyncio.create_task(self._write(key, of)) for key, of in batches.items()}
        await all_of(*writes.values(), self._add_offsets(offsets), _watch(writes, waited_for))

    async def _write(self, key: Key, batches: TopicBatches) -> None:
        """Write the batches of a partition; before it first waits, the first ones are enqueued."""
        first = [await self._enqueue(key, topic, rows, 0) for topic, rows in batches.items()]
        rest = [self._send_rest(key, topic, r) for topic, r in batches.items() if len(r) > 1]
        await all_of(*first, *rest)

    async def _add_offsets(self, offsets: Mapping[Key, int]) -> None:
        name, group = self._identity.transactional_id, self._identity.group
        rows = {TopicPartition(*key): OffsetAndMetadata(at, name) for key, at in offsets.items()}
        await self._ready().send_offsets_to_transaction(rows, group)

    async def _send_rest(self, key: Key, topic: str, batches: Sequence[Batch]) -> None:
        numbers = range(1, len(batches))
        await all_of(*[await self._enqueue(key, topic, batches, at) for at in numbers])

    async def _enqueue(
        self, key: Key, topic: str, batches: Sequence[Batch], at: int
    ) -> asyncio.Task[None]:
        """Enqueue the batch at index ``at``; the task returned ends when it is written."""
        _, partition = key
        sent = await enqueue(self._ready(), topic, partition, batches[at])

        async def written() -> None:
            try:
                await sent
            except BatchRefusedError as error:
                first = sum(batch.record_count() for batch in batches[:at])
                indices = [first + index for index in error.indices]
                refused = RecordsRefusedError(topic, partition, indices, error.why)
                raise RefusedError(key, refused) from error

        task = asyncio.create_task(written())
        task.add_done_callback(retrieve)
        return task

    async def commit(self) -> None:
        """Commit the transaction."""
        await self._ready().commit_transaction()
        self._open = False

    async def close(self) -> None:
        """End an open transaction, for `END_S` at most, and disconnect.

        By a new epoch, not by an abort: that would first wait for what is being written.
        """
        if self._open:
            await at_most(END_S, self._end(self._identity.transactional_id))
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.abandon()

    def _ready(self) -> Producer:
        if self._producer is None:
            raise RuntimeError(f"{self._identity.transactional_id} is not claimed")
        return self._producer


async def _watch(
    writes: Mapping[Key, asyncio.Task[None]], waited_for: Callable[[Collection[Key]], bool]
) -> None:
    """Wait until all are done.

    Raises:
        SlowError: If some are not in `PATIENCE_S`, and others wait for them.
    """
    late: set[asyncio.Task[None]] = set(writes.values())
    while late:
        _, late = await asyncio.wait(late, timeout=PATIENCE_S)
        slow = {key for key, task in writes.items() if task in late}
        if slow and (len(slow) < len(writes) or waited_for(slow)):
            raise SlowError(slow)
