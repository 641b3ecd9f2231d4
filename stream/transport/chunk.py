"""A chunk: all records that one fetch returned for one partition, still raw bytes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


class Record(Protocol):
    """What the library needs of a record; aiokafka's ``ConsumerRecord`` is one.

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
    """A record that has a place in a partition."""

    @property
    def topic(self) -> str: ...  # noqa: D102
    @property
    def partition(self) -> int: ...  # noqa: D102
    @property
    def offset(self) -> int: ...  # noqa: D102


#: What is to be written, by topic; always onto the partition number of the chunk it came from.
Outputs = Mapping[str, Sequence[Record]]


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """What one fetch returned for one partition: the offsets [start, next_offset), in order.

    Attributes:
        topic: Topic they came from.
        partition: Partition number.
        records: The records, at least one. Where compaction or transaction markers took offsets
            away, there are fewer records than offsets.
        start: Offset at which the chunk before it ended; the first record's where none is known.
        next_offset: Offset at which the next chunk starts.
        size: Bytes of all keys and values, and what headers take at least.
        fetched_s: When it was handed over, in seconds of the monotonic clock.
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


class RecordTooLargeError(ValueError):
    """A record that no batch can hold; nothing of its call to `send` was written.

    Attributes:
        topic: Topic it was meant for.
        partition: Partition number.
        index: Its index in the records that were passed to `send`.
        size: Bytes it needs.
        limit: Bytes a batch may have.
    """

    def __init__(self, topic: str, partition: int, index: int, size: int, limit: int) -> None:
        super().__init__(
            f"{topic}[{partition}]: record {index} needs {size} bytes, a batch holds {limit}; "
            "raise the topic's max.message.bytes, or send less"
        )
        self.topic = topic
        self.partition = partition
        self.index = index
        self.size = size
        self.limit = limit
