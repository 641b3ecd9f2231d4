"""The offset ledger: which chunks of a partition are in flight, and how far it may be committed.

Pure bookkeeping, no I/O. A chunk covers the half-open range of offsets [start, end). Chunks are
opened in order and without gaps: `start` is where the previous chunk ended, even when compaction
or transaction markers leave offsets without a record. They may be acknowledged in any order; the
offset to commit is the end of the longest acknowledged prefix.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

P = TypeVar("P")  # identifies a partition; any hashable


class LedgerError(RuntimeError):
    """Offsets moved in a way that would lose or repeat records: a bug, never to be retried."""


@dataclass(slots=True, eq=False)
class Ticket(Generic[P]):
    """One chunk in flight; it is acknowledged by this object.

    Attributes:
        partition: The partition it was fetched from.
        start: First offset it covers.
        end: Offset after the last one it covers, which is the offset to commit for it.
        size: Bytes it holds in memory.
        opened_s: When it was opened, in seconds of the owner's clock.
        acked: Whether it has been acknowledged.
    """

    partition: P
    start: int
    end: int
    size: int
    opened_s: float = 0.0
    acked: bool = False


@dataclass(slots=True)
class _Partition(Generic[P]):
    position: int | None  # where the next chunk must start; None: anywhere
    committed: int | None
    committable: int | None = None
    tickets: deque[Ticket[P]] = field(default_factory=deque)


class OffsetLedger(Generic[P]):
    """Chunks in flight per partition. One owner, one thread."""

    def __init__(self) -> None:
        self._partitions: dict[P, _Partition[P]] = {}

    def __iter__(self) -> Iterator[P]:
        """The partitions that are owned."""
        return iter(tuple(self._partitions))

    def reset(self, partition: P, position: int | None) -> None:
        """Own `partition` from `position` on; its chunks in flight are abandoned.

        Call it on assignment and on every seek. Acknowledging the ticket of an abandoned chunk
        has no effect.

        Args:
            partition: The partition that was assigned or sought.
            position: Offset of the next fetch, or None while it is unknown.
        """
        self._partitions[partition] = _Partition(position=position, committed=position)

    def revoke(self, partitions: Iterable[P]) -> None:
        """Remove `partitions`, because another consumer owns them now."""
        for partition in partitions:
            self._partitions.pop(partition, None)

    def open(
        self, partition: P, start: int, end: int, size: int = 0, now_s: float = 0.0
    ) -> Ticket[P]:
        """Register the chunk that covers [start, end) and holds `size` bytes, at `now_s`.

        Raises:
            LedgerError: If the partition is not owned, the range is empty, starts before the end
                of the previous chunk (records would repeat) or after it (records would be
                skipped).
        """
        state = self._partitions.get(partition)
        if state is None:
            raise LedgerError(
                f"{partition}: chunk [{start}, {end}) of a partition that is not owned"
            )
        if end <= start:
            raise LedgerError(f"{partition}: chunk [{start}, {end}) is empty")
        if state.position is not None and start != state.position:
            what = "goes backwards from" if start < state.position else "skips offsets after"
            raise LedgerError(f"{partition}: chunk [{start}, {end}) {what} {state.position}")
        ticket = Ticket(partition, start, end, size, now_s)
        state.tickets.append(ticket)
        state.position = end
        return ticket

    def ack(self, ticket: Ticket[P]) -> bool:
        """Acknowledge a chunk: its outputs are written.

        Returns:
            False if the chunk was abandoned by a reset or revocation, and will be delivered
            again, here or to another consumer.

        Raises:
            LedgerError: If it was acknowledged before.
        """
        if ticket.acked:
            raise LedgerError(
                f"{ticket.partition}: chunk [{ticket.start}, {ticket.end}) acknowledged twice"
            )
        ticket.acked = True
        if not self.holds(ticket):
            return False
        state = self._partitions[ticket.partition]
        while state.tickets and state.tickets[0].acked:
            state.committable = state.tickets.popleft().end
        return True

    def holds(self, ticket: Ticket[P]) -> bool:
        """Whether the chunk is in flight; an abandoned one is not."""
        state = self._partitions.get(ticket.partition)
        return state is not None and any(other is ticket for other in state.tickets)

    def bytes_in_flight(self) -> int:
        """Bytes of all chunks in flight, including acknowledged ones behind another chunk."""
        return sum(ticket.size for state in self._partitions.values() for ticket in state.tickets)

    def in_flight(self, partition: P) -> int:
        """Chunks of `partition` that are not acknowledged, or follow one that is not."""
        state = self._partitions.get(partition)
        return len(state.tickets) if state else 0

    def oldest_s(self, partition: P) -> float | None:
        """When the oldest chunk in flight of `partition` was opened, None if there is none."""
        state = self._partitions.get(partition)
        return state.tickets[0].opened_s if state and state.tickets else None

    def committable(self, partition: P) -> int | None:
        """Offset to commit, or None if there is nothing new to commit."""
        state = self._partitions.get(partition)
        if state is None or state.committable == state.committed:
            return None
        return state.committable

    def committed(self, partition: P, offset: int) -> None:
        """Record that the broker has committed `offset`.

        Raises:
            LedgerError: If it is behind an earlier commit, or ahead of what was acknowledged.
        """
        state = self._partitions.get(partition)
        if state is None:
            return
        if state.committed is not None and offset < state.committed:
            raise LedgerError(f"{partition}: commit went backwards, {state.committed} to {offset}")
        if state.committable is None or offset > state.committable:
            raise LedgerError(f"{partition}: {offset} committed, {state.committable} acknowledged")
        state.committed = offset

    def done(self, partition: P) -> int | None:
        """Offset up to which everything is acknowledged, or None while it is unknown."""
        state = self._partitions.get(partition)
        if state is None:
            return None
        return state.committable if state.committable is not None else state.committed
