"""An aiokafka consumer that no batch can stop, because it decodes within limits.

aiokafka's fetcher creates the objects that decode batches by their names in its module. The methods
that do so are copied here with other classes behind these names (`stream.kafka.rebound`), and
nothing else changes; docs/faust.md lists them.
"""

# ruff: noqa: SLF001

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, Self, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchResult

from models.bounds import MAX_UNPACKED_BYTES
from stream.kafka.batches.codecs import Unpacker
from stream.kafka.batches.framing import RecordSet
from stream.kafka.batches.limits import Limits, Room
from stream.kafka.batches.partition_reader import Fetched, PartitionReader
from stream.kafka.batches.refused import RefusedBatch
from stream.kafka.rebound import rebound

logger = logging.getLogger(__name__)


class BoundedResult(FetchResult):  # type: ignore[misc]
    """What a fetch returned for one partition, delivered in pieces of bounded size."""

    _partition_records: PartitionReader | None

    def getall(self, max_records: int | None = None) -> list[Fetched]:
        """The next records; see `PartitionReader.take`."""
        if not self.check_assignment(self._topic_partition) or not self.has_more():
            return []
        reader = self._partition_records
        assert reader is not None
        records = reader.take(max_records)
        self._update_position()
        if reader.exhausted:
            self._partition_records = None
        return records


class BoundedFetcher(Fetcher):  # type: ignore[misc]
    """aiokafka's fetcher, whose batches are decoded within limits.

    Args:
        limits: Makes the limits, given the maximum bytes delivered at a time, which is the maximum
            that is fetched of a partition.
        rest: As of aiokafka's fetcher.
        options: As of aiokafka's fetcher.
    """

    def __init__(self, limits: Callable[[int, Room], Limits], *rest: Any, **options: Any) -> None:
        super().__init__(*rest, **options)
        self._room = Room(self._max_partition_fetch_bytes)
        self._proc_fetch_request = rebound(
            Fetcher._proc_fetch_request,
            MemoryRecords=RecordSet,
            PartitionRecords=partial(PartitionReader, limits(self._room.left, self._room)),
            FetchResult=BoundedResult,
        ).__get__(self)

    _fetched_records = rebound(Fetcher.fetched_records, FetchResult=BoundedResult)
    next_record = rebound(Fetcher.next_record, FetchResult=BoundedResult)

    async def fetched_records(
        self,
        partitions: Any,
        timeout: float = 0,  # noqa: ASYNC109 - aiokafka's signature
        max_records: int | None = None,
    ) -> dict[TopicPartition, list[Fetched]]:
        """Records of some partitions, in pieces of bounded size; see aiokafka."""
        self._room.left = self._max_partition_fetch_bytes
        found: dict[TopicPartition, list[Fetched]] = await self._fetched_records(
            partitions, timeout, max_records
        )
        return found


class BoundedConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """aiokafka's consumer, whose batches are decoded within limits; keys and values stay bytes.

    Args:
        topics: As of aiokafka's consumer.
        max_unpacked_bytes: Maximum size of an unpacked batch; a larger one is refused.
        refused: Called with every batch that is refused; by default they are logged.
        keep: Whether a `RefusedBatch` is delivered in place of a refused batch.
        options: As of aiokafka's consumer.
    """

    def __init__(
        self,
        *topics: str,
        max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
        refused: Callable[[RefusedBatch], None] | None = None,
        keep: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(*topics, **options)
        self._limit(max_unpacked_bytes, refused, keep=keep)

    @classmethod
    def of(
        cls,
        consumer: AIOKafkaConsumer,
        max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
        refused: Callable[[RefusedBatch], None] | None = None,
        *,
        keep: bool = False,
    ) -> Self:
        """Change the class of a consumer that Faust has built and that is not started yet."""
        consumer.__class__ = cls
        consumer._limit(max_unpacked_bytes, refused, keep=keep)
        return cast("Self", consumer)

    def _limit(
        self,
        max_unpacked_bytes: int,
        refused: Callable[[RefusedBatch], None] | None,
        *,
        keep: bool,
    ) -> None:
        self._limits = partial(Limits, Unpacker(max_unpacked_bytes), refused or log, keep)

    async def start(self) -> None:
        """Connect; see aiokafka."""
        start = rebound(AIOKafkaConsumer.start, Fetcher=partial(BoundedFetcher, self._limits))
        await start(self)


def log(batch: RefusedBatch) -> None:
    """Log a batch that is skipped."""
    logger.error("%s: skipped", batch)
