"""Exactly once: a sink that commits a chunk's outputs and its offset in one Kafka transaction.

Each input partition has a producer with a transactional id of its own, the same one on every
worker; `lane` explains why that is sufficient. Consumers of the outputs must read
``read_committed``.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import UnknownError, UnsupportedVersionError

from stream.transport.chunk import Chunk, Instead, Outputs
from stream.transport.concurrency import all_of
from stream.transport.incidents import Incidents
from stream.transport.lane import Lane
from stream.transport.lane_state import ReleasedError
from stream.transport.log_throttle import throttle_client_logs
from stream.transport.output.output_topics import OutputTopics
from stream.transport.output.slow_writes import SlowWrites
from stream.transport.output.transactions import GroupOffsets, KafkaTransactions, TopicBatches

REQUEST_TIMEOUT_S: Final = 15.0  # how long a broker may take to answer

#: Brokers since 3.6 verify the partitions of a transaction and often require one more attempt.
RETRY_MS: Final = 10

#: Minimum time between two transactions of a partition. However small, each costs the broker about
#: ten writes; without a pause they queued there for longer than the pause.
INTERVAL_S: Final = 0.03


class TransactionsUnsupportedError(RuntimeError):
    """The broker does not support transactions."""


class TransactionalSink:
    """Writes each chunk in a transaction.

    Args:
        client: Options of the aiokafka client: bootstrap servers and security.
        group: The consumer group whose offsets are committed; also the prefix of each transactional
            id, ``<group>-<topic>-<partition>``.
        topics: Topics to write to; batches keep to the smallest ``max.message.bytes`` of them.
        heartbeat_s: The group's heartbeat interval. A fenced lane waits three intervals to be
            released before it concludes that it still owns its partition.
        transaction_timeout_s: After this the broker aborts a transaction whose worker is gone and
            whose partition has no new owner; until then consumers wait at it.
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
        transaction_timeout_s: float = 60.0,
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
        self._compression = compression
        self._lanes: dict[tuple[str, int], Lane[TopicBatches]] = {}
        self._offsets = GroupOffsets(self._client, group)

    async def start(self) -> None:
        """Connect, and check that the broker supports transactions.

        Raises:
            TransactionsUnsupportedError: If it does not.
            KafkaError: If no broker can be reached, or it refuses the client.
        """
        throttle_client_logs()
        await self._topics.start()
        probe = AIOKafkaProducer(**self._client, enable_idempotence=True)
        try:
            await probe.start()
        except (UnknownError, UnsupportedVersionError) as error:
            raise TransactionsUnsupportedError(
                f"the broker does not support producer ids ({error!r}), so it has no transactions; "
                "use Apache Kafka, or the guarantee at-least-once"
            ) from error
        finally:
            await probe.stop()
        await self._offsets.start()
        self._slow.start()

    async def stop(self) -> None:
        """Release all partitions and disconnect."""
        await self._slow.stop()
        await self.release(list(self._lanes))
        await self._offsets.stop()

    async def filtered(self, partitions: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Which partitions were filtered before; see `OutputTopics.filtered`."""
        return await self._topics.filtered(partitions)

    async def claim(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Fence the previous owners of these partitions; see `Sink.claim`.

        Raises:
            PartitionsError: If an output topic has too few partitions.
            KafkaError: A fatal one; others are retried until the release.
        """
        await self.release(list(self._lanes))
        owned = list(partitions)
        await self._topics.fit(owned)
        self._lanes = {key: self._new_lane(*key) for key in owned}
        await all_of(*(lane.claim() for lane in self._lanes.values()))

    def _new_lane(self, topic: str, partition: int) -> Lane[TopicBatches]:
        tp = TopicPartition(topic, partition)
        transactions = KafkaTransactions(
            self._options,
            self._group,
            tp,
            self._offsets,
            self._topics,
            self._incidents,
            codec=self._compression,
        )
        name = f"{topic}[{partition}]"
        return Lane(name, transactions, grace_s=self._grace_s, interval_s=INTERVAL_S)

    async def drain(self) -> None:
        """Release the lanes that are fenced or not claimed yet."""
        await self.release([key for key, lane in self._lanes.items() if not lane.claimed])

    async def release(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Release these partitions; see `Sink.release`."""
        lanes = [self._lanes.pop(key) for key in partitions if key in self._lanes]
        await all_of(*(lane.release() for lane in lanes))

    async def write(self, chunk: Chunk, outputs: Outputs, instead: Instead | None = None) -> None:
        """Commit a chunk; see `Sink.write`.

        Raises:
            ReleasedError: If the partition was revoked before.
            LaneError: If another program moved the group's offset.
            RecordsRefusedError: If a topic does not accept some records and `instead` is None.
            KafkaError: A fatal one; nothing was committed.
        """
        lane = self._lanes.get((chunk.topic, chunk.partition))
        if lane is None:
            raise ReleasedError(repr(chunk))
        with self._slow.writing(chunk.partition, (t for t, rows in outputs.items() if rows)):
            await lane.write(chunk.start, chunk.next_offset, outputs, instead)
