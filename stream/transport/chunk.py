"""A chunk: all records that one fetch returned for one partition, still raw bytes."""

from collections.abc import Iterator, Sequence
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


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """The records [first_offset, next_offset) of one partition, in order.

    Attributes:
        topic: Topic they came from.
        partition: Partition number.
        records: The records, at least one.
        first_offset: Offset of the first record.
        next_offset: Offset at which the next chunk starts; more than the last record's offset
            plus one where compaction or transaction markers left a gap.
        size: Bytes of all keys and values.
    """

    topic: str
    partition: int
    records: Sequence[FetchedRecord]
    first_offset: int
    next_offset: int
    size: int

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[FetchedRecord]:
        return iter(self.records)

    def __repr__(self) -> str:
        return (
            f"<Chunk {self.topic}[{self.partition}] {self.first_offset}..{self.next_offset} "
            f"{len(self.records)} records, {self.size} bytes>"
        )
