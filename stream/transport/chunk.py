"""A chunk: all records that one fetch returned for one partition, still raw bytes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final, Protocol

from stream.kafka.batches import HEADER_BYTES_HELD

_KEY: Final = attrgetter("key")
_VALUE: Final = attrgetter("value")
_HEADERS: Final = attrgetter("headers")


class Record(Protocol):
    """What the transport uses of a record; aiokafka's ``ConsumerRecord`` is one.

    Attributes:
        key: Key, or None.
        value: Value, or None for a tombstone.
        timestamp: Milliseconds since the epoch.
        headers: Pairs of name and value.
    """

    @property
    def key(self) -> bytes | None: ...  # noqa: D102
    @property
    def value(self) -> bytes | None: ...  # noqa: D102
    @property
    def timestamp(self) -> int: ...  # noqa: D102
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...  # noqa: D102


class FetchedRecord(Record, Protocol):
    """A record with its coordinates: topic, partition and offset."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102


#: Records to write, by topic; always to the partition number of the chunk they come from.
Outputs = Mapping[str, Sequence[Record]]


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """What one fetch returned for one partition: the offsets [start, next_offset), in order.

    Attributes:
        topic: Topic of the records.
        partition: Partition number.
        records: The records. Where compaction, retention or transaction markers removed offsets,
            there are fewer records than offsets; at the end of a partition there may be none.
        start: Offset at which the previous chunk ended; that of the first record if unknown.
        next_offset: Offset at which the next chunk starts.
        size: Bytes of all keys and values, plus an estimate of the memory that headers take.
        fetched_s: Time of the fetch, in seconds of the monotonic clock.
    """

    topic: str
    partition: int
    records: Sequence[FetchedRecord]
    start: int
    next_offset: int
    size: int
    fetched_s: float

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[FetchedRecord]:
        return iter(self.records)

    def __repr__(self) -> str:
        return (
            f"<Chunk {self.topic}[{self.partition}] {self.start}..{self.next_offset} "
            f"{len(self.records)} records, {self.size} bytes>"
        )


def held_bytes(records: Sequence[Any]) -> int:
    """Bytes of all keys and values, plus an estimate for headers; no Python step per record."""
    headers = HEADER_BYTES_HELD * sum(map(len, map(_HEADERS, records)))
    return _bytes(_VALUE, records) + _bytes(_KEY, records) + headers


def _bytes(part: Callable[[Any], bytes | None], records: Iterable[Any]) -> int:
    return sum(map(len, filter(None, map(part, records))))


class RecordsRefusedError(ValueError):
    """Records that a topic does not accept as they are; none of them was written.

    Attributes:
        topic: Topic they were sent to.
        partition: Partition number.
        indices: Their indices in the records that were passed to `send`, increasing.
        why: The reason, as the topic's configuration or the broker gives it.
    """

    def __init__(self, topic: str, partition: int, indices: Sequence[int], why: str) -> None:
        super().__init__(f"{topic}[{partition}]: records {list(indices[:5])}: {why}")
        self.topic = topic
        self.partition = partition
        self.indices = tuple(indices)
        self.why = why

    def within(self, first: int, end: int) -> "RecordsRefusedError":
        """The same error for the records from `first` to `end`, with indices from `first` on."""
        indices = [index - first for index in self.indices if first <= index < end]
        return RecordsRefusedError(self.topic, self.partition, indices, self.why)


class RecordTooLargeError(RecordsRefusedError):
    """Records that are larger than a batch may be; nothing of their `send` call was written.

    Attributes:
        sizes: Bytes that each record needs, by its index in the records passed to `send`.
        limit: Maximum bytes of a batch.
    """

    def __init__(self, topic: str, partition: int, sizes: Mapping[int, int], limit: int) -> None:
        most = max(sizes.values(), default=0)
        super().__init__(
            topic,
            partition,
            tuple(sizes),
            f"{most} bytes, key and headers included, where a batch holds {limit}; raise the "
            "topic's max.message.bytes, or send less",
        )
        self.sizes = dict(sizes)
        self.limit = limit

    def within(self, first: int, end: int) -> "RecordTooLargeError":
        """The same error for the records from `first` to `end`, with indices from `first` on."""
        sizes = {index - first: size for index, size in self.sizes.items() if first <= index < end}
        return RecordTooLargeError(self.topic, self.partition, sizes, self.limit)


#: Returns what to write instead of outputs that a topic has refused in part.
Instead = Callable[[Outputs, RecordsRefusedError], Outputs]
