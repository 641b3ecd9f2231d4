"""An aiokafka consumer that no batch can stop: it reads within bounds, whatever was written.

aiokafka's fetcher makes the objects that read batches by their names in its module. The methods
that do so are taken over here with other classes behind these names, and nothing else changes;
aiokafka is pinned to a minor version, and a test holds that the names are still the ones.
"""

# ruff: noqa: SLF001

import logging
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any, Self, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchResult

from models.bounds import MAX_UNPACKED_BYTES
from stream.kafka.batches.codecs import Unpacker
from stream.kafka.batches.framing import RecordSet
from stream.kafka.batches.partition_reader import Bounds, Fetched, PartitionReader, Room
from stream.kafka.batches.refused import RefusedBatch

logger = logging.getLogger(__name__)


def rebound(function: Any, **names: Any) -> Any:
    """`function` with other objects behind some global names of its module.

    Raises:
        LookupError: If it does not use one of the names.
    """
    for name in names:
        if name not in function.__code__.co_names or name not in function.__globals__:
            raise LookupError(f"{function.__qualname__} uses no global {name}")
    copy = FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


class BoundedResult(FetchResult):  # type: ignore[misc]
    """What was fetched of one partition, handed over in bounded pieces."""

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
    """aiokafka's fetcher, whose batches are read within bounds.

    Args:
        bounds: From the most bytes that are handed over at a time to how they are read; it is as
            many as are fetched of a partition.
        rest: As of aiokafka's.
    """

    def __init__(self, bounds: Callable[[int, Room], Bounds], *rest: Any, **options: Any) -> None:
        super().__init__(*rest, **options)
        self._room = Room(self._max_partition_fetch_bytes)
        self._proc_fetch_request = rebound(
            Fetcher._proc_fetch_request,
            MemoryRecords=RecordSet,
            PartitionRecords=partial(PartitionReader, bounds(self._room.left, self._room)),
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
        """Records of some partitions, in bounded pieces; see aiokafka."""
        self._room.left = self._max_partition_fetch_bytes
        found: dict[TopicPartition, list[Fetched]] = await self._fetched_records(
            partitions, timeout, max_records
        )
        return found


class BoundedConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """aiokafka's consumer; of keys and values it makes nothing but bytes.

    Args:
        topics: As of aiokafka's.
        max_unpacked_bytes: Most bytes that a batch may unpack to; a larger one is refused.
        refused: Called with every batch that is refused; without it, they are logged.
        keep: Whether a `RefusedBatch` is handed over, in its place among the records.
        options: As of aiokafka's.
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
        self._bound(max_unpacked_bytes, refused, keep=keep)

    @classmethod
    def of(
        cls,
        consumer: AIOKafkaConsumer,
        max_unpacked_bytes: int = MAX_UNPACKED_BYTES,
        refused: Callable[[RefusedBatch], None] | None = None,
        *,
        keep: bool = False,
    ) -> Self:
        """Make one of a consumer of aiokafka's that is not started yet, as Faust builds it."""
        consumer.__class__ = cls
        consumer._bound(max_unpacked_bytes, refused, keep=keep)
        return cast("Self", consumer)

    def _bound(
        self,
        max_unpacked_bytes: int,
        refused: Callable[[RefusedBatch], None] | None,
        *,
        keep: bool,
    ) -> None:
        self._bounds = partial(Bounds, Unpacker(max_unpacked_bytes), refused or log, keep)

    async def start(self) -> None:
        """Connect; see aiokafka."""
        start = rebound(AIOKafkaConsumer.start, Fetcher=partial(BoundedFetcher, self._bounds))
        await start(self)


def log(batch: RefusedBatch) -> None:
    """Say in the log what is left out."""
    logger.error("%s: left out", batch)
