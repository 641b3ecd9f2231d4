"""Exactly once: a sink that commits outputs and offsets of many chunks in one Kafka transaction.

A worker has one transactional producer for all its partitions; `lanes.lane` explains why that is
sufficient. Consumers of the outputs must read ``read_committed``.
"""

import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any, Final

from aiokafka.errors import KafkaError, UnknownError, UnsupportedVersionError

from stream.transport.chunk import Chunk, Instead, Outputs
from stream.transport.incidents import Incidents
from stream.transport.lanes.assigned import Lanes
from stream.transport.lanes.pending import Key
from stream.transport.lanes.state import ReleasedError
from stream.transport.log_throttle import throttle_client_logs
from stream.transport.output.group_offsets import committed
from stream.transport.output.output_topics import OutputTopics
from stream.transport.output.producer import Producer
from stream.transport.output.sink import Member
from stream.transport.output.slow_writes import SlowWrites
from stream.transport.output.transactions import Identity, KafkaTransactions, TopicBatches

REQUEST_TIMEOUT_S: Final = 15.0  # how long a broker may take to answer

#: Brokers since 3.6 verify the partitions of a transaction and often require one more attempt.
RETRY_MS: Final = 10

#: Minimum time between two transactions. However small, each costs the broker about ten writes;
#: without a pause they queued there for longer than the pause.
INTERVAL_S: Final = 0.03

#: After this the broker ends a transaction whose worker is gone; it looks every ten seconds. Less
#: than the session timeout less these ten, so that it is over when the partitions are assigned
#: anew, and long enough for leaders of partitions to be elected.
TRANSACTION_TIMEOUT_S: Final = 10.0


class TransactionsUnsupportedError(RuntimeError):
    """The broker does not support transactions that the group fences."""


class TransactionalSink:
    """Writes the chunks that wait, of all partitions, in one transaction after the other.

    Args:
        client: Options of the aiokafka client: bootstrap servers and security.
        group: The consumer group whose offsets are committed.
        topics: Topics to write to; batches keep to the smallest ``max.message.bytes`` of them.
        heartbeat_s: The group's heartbeat interval. A worker that finds an offset moved waits for
            its release before it concludes that another program moved it.
        transactional_ids: Prefix of the workers' transactional ids; ``<group>-`` by default.
        transaction_timeout_s: After this the broker ends a transaction whose worker is gone, if
            the next owner of its partitions has not done so; until then consumers wait at it.
        compression: Codec of the batches: one of `stream.kafka.batches.CODECS`.
        incidents: Missing topics and throttling are reported to it.
    """

    commits = True

    def __init__(
        self,
        client: Mapping[str, Any],
        group: str,
        topics: Iterable[str],
        *,
        heartbeat_s: float,
        transactional_ids: str = "",
        transaction_timeout_s: float = TRANSACTION_TIMEOUT_S,
        compression: str = "none",
        incidents: Incidents | None = None,
    ) -> None:
        self._client = dict(client)
        self._group = group
        self._incidents = incidents or Incidents()
        self._topics = OutputTopics(client, topics)
        self._slow = SlowWrites(self._topics.diagnose, self._incidents)
        self._grace_s = 3 * heartbeat_s
        self._options: dict[str, Any] = {
            **self._client,
            "transaction_timeout_ms": int(transaction_timeout_s * 1000),
            "request_timeout_ms": int(REQUEST_TIMEOUT_S * 1000),
            "retry_backoff_ms": RETRY_MS,
        }
        self._prefix = transactional_ids or f"{group}-"
        self._name = uuid.uuid4().hex
        self._numbers = count()  # of its transactional ids; a blocked one is not used again
        self._compression = compression
        self._lanes: Lanes[TopicBatches] | None = None
        self._changes = 0  # of what it owns

    async def start(self) -> None:
        """Check that the broker supports transactions, and offsets that a group fences.

        Raises:
            TransactionsUnsupportedError: If it does not.
            KafkaError: If no broker can be reached, or it refuses the client.
        """
        throttle_client_logs()
        await self._topics.start()
        probe = Producer(self._incidents, **self._client, enable_idempotence=True)
        try:
            await probe.start()
            with suppress(KafkaError):  # an answer of the coordinator; a fault shows in the claim
                await committed(probe, self._group, [])
        except (UnknownError, UnsupportedVersionError, NotImplementedError) as error:
            raise TransactionsUnsupportedError(
                f"the broker does not support producer ids, or OffsetFetch v7 ({error!r}), so it "
                "has no transactions that a group fences; use Apache Kafka 2.5 or newer, or the "
                "guarantee at-least-once"
            ) from error
        finally:
            await probe.disconnect()
        self._slow.start()

    async def stop(self) -> None:
        """Release all partitions and disconnect."""
        await self._slow.stop()
        await self._release_all()

    async def filtered(self, partitions: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Which partitions were filtered before; see `OutputTopics.filtered`."""
        return await self._topics.filtered(partitions)

    async def claim(self, partitions: Iterable[tuple[str, int]], member: Member) -> None:
        """End what is open, and wait until these partitions' offsets are stable; see `Sink.claim`.

        Raises:
            PartitionsError: If an output topic has too few partitions.
            ReleasedError: If the assignment is not in force any more.
            KafkaError: A fatal one; others are retried until the release.
        """
        await self._release_all()
        change, owned = self._changes, [(topic, number) for topic, number in partitions]
        await self._topics.fit(owned)
        if change != self._changes or (owned and member.generation < 0):
            raise ReleasedError(f"{member} owns nothing any more")
        if owned:
            self._lanes = self._new_lanes(owned, member)
            await self._lanes.claim()

    def _new_lanes(self, owned: list[Key], member: Member) -> Lanes[TopicBatches]:
        def connect() -> KafkaTransactions:
            name = f"{self._name}-{next(self._numbers)}"
            identity = Identity(self._group, member, self._prefix, name)
            topics, incidents, codec = self._topics, self._incidents, self._compression
            return KafkaTransactions(self._options, identity, topics, incidents, codec=codec)

        return Lanes(owned, connect, grace_s=self._grace_s, interval_s=INTERVAL_S)

    async def drain(self) -> None:
        """Release what cannot be written now: not claimed yet, or expelled."""
        if self._lanes is not None:
            await self._lanes.drain()

    async def release(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Release these partitions; see `Sink.release`."""
        self._changes += 1
        if self._lanes is not None:
            await self._lanes.release((topic, number) for topic, number in partitions)

    async def _release_all(self) -> None:
        self._changes += 1
        lanes, self._lanes = self._lanes, None
        if lanes is not None:
            await lanes.close()

    async def write(self, chunk: Chunk, outputs: Outputs, instead: Instead | None = None) -> None:
        """Commit a chunk; see `Sink.write`.

        Raises:
            ReleasedError: If the partition was revoked before.
            LaneError: If another program moved the group's offset.
            RecordsRefusedError: If a topic does not accept some records and `instead` is None.
            KafkaError: A fatal one; nothing was committed.
        """
        if self._lanes is None:
            raise ReleasedError(repr(chunk))
        key = (chunk.topic, chunk.partition)
        with self._slow.writing(chunk.partition, (t for t, rows in outputs.items() if rows)):
            await self._lanes.write(key, chunk.start, chunk.next_offset, outputs, instead)
