"""Sinks: where the outputs of chunks are written.

A sink is claimed for the partitions that its consumer owns, writes chunks of them while they are
owned, and is released when they are revoked. `ChunkSink` (`at_least_once`) writes a chunk's outputs
and leaves the offsets to the consumer; `TransactionalSink` (`exactly_once`) commits both in one
transaction.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from stream.transport.chunk import Chunk, Instead, Outputs


class Outgoing(NamedTuple):
    """A record to write; fetched records can be written as they are, too.

    Attributes:
        key: Key, or None.
        value: Value, or None for a tombstone.
        timestamp: Milliseconds since the epoch.
        headers: Pairs of name and value.
        source: Offset of the input record that it is made from, if there is one.
    """

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Sequence[tuple[str, bytes | None]] = ()
    source: int | None = None


class Member(NamedTuple):
    """A member of a consumer group, as of one assignment.

    Attributes:
        id: Its id, which the coordinator gave it; empty if it is in no group.
        generation: Generation of the group, negative if it is in no group.
    """

    id: str
    generation: int


NO_MEMBER: Final = Member("", -1)


class Sink(Protocol):
    """What `relay` writes to and the consumer claims and releases.

    Attributes:
        commits: Whether `write` commits the chunk's offset too; otherwise the consumer does.
    """

    commits: bool

    async def filtered(self, partitions: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Which of these input partitions have records on the output topics."""

    async def claim(self, partitions: Iterable[tuple[str, int]], member: Member) -> None:
        """Own these (topic, partition) and no others; called before their offsets are read.

        Args:
            partitions: What the group has assigned.
            member: The member and generation that it was assigned to.

        Raises:
            PartitionsError: If an output topic has too few partitions.
            ReleasedError: If the assignment is not in force any more.
        """

    async def drain(self) -> None:
        """All partitions are about to be revoked: release those that cannot be written to now."""

    async def release(self, partitions: Iterable[tuple[str, int]]) -> None:
        """Release revoked partitions: a `write` in progress ends or raises ReleasedError."""

    async def write(self, chunk: Chunk, outputs: Outputs, instead: Instead | None) -> None:
        """Write a chunk's outputs to its partition number; returns when they are acknowledged.

        Calls for one partition are made in order; one need not return before the next is made.

        Args:
            chunk: The chunk that the outputs come from.
            outputs: Records to write.
            instead: Returns what to write instead, if a topic does not accept some of the records.

        Raises:
            ReleasedError: If the partition was revoked before.
            RecordsRefusedError: If a topic does not accept some records and `instead` is None.
            KafkaError: If the outputs cannot be written; the chunk's offset is not committed.
        """
