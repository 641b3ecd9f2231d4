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
        records: The records. Where compaction, retention or transaction markers took offsets away,
            there are fewer records than offsets; at the end of a partition perhaps none.
        start: Offset at which the chunk before it ended; the first record's where none is known.
        next_offset: Offset at which the next chunk starts.
        size: Bytes of all keys and values, and what headers take in memory, about.
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


class RecordsRefusedError(ValueError):
    """Records that a topic does not take as they are; nothing of them was written.

    Attributes:
        topic: Topic they were meant for.
        partition: Partition number.
        indices: Their indices in the records that were passed to `send`, increasing.
        why: What the topic says.
    """

    def __init__(self, topic: str, partition: int, indices: Sequence[int], why: str) -> None:
        super().__init__(f"{topic}[{partition}]: records {list(indices[:5])}: {why}")
        self.topic = topic
        self.partition = partition
        self.indices = tuple(indices)
        self.why = why

    def within(self, first: int, end: int) -> "RecordsRefusedError":
        """The same of the records from `first` to `end`, counted from there."""
        indices = [index - first for index in self.indices if first <= index < end]
        return RecordsRefusedError(self.topic, self.partition, indices, self.why)


class RecordTooLargeError(RecordsRefusedError):
    """Records that no batch can hold; nothing of their call to `send` was written.

    Attributes:
        sizes: Bytes that each needs, by its index in the records that were passed to `send`.
        limit: Bytes a batch may have.
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
        """The same of the records from `first` to `end`, counted from there."""
        sizes = {index - first: size for index, size in self.sizes.items() if first <= index < end}
        return RecordTooLargeError(self.topic, self.partition, sizes, self.limit)
