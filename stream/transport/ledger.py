"""The offset ledger: which chunks of a partition are in flight, and how far it may be committed.

Pure bookkeeping, no I/O. A chunk covers the half-open range of offsets [start, end). Chunks are
opened in order and without holes: `start` is where the previous chunk ended, even when compaction
or transaction markers leave offsets without a record. They may be acknowledged in any order; what
may be committed is the end of the longest acknowledged prefix, never more.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

P = TypeVar("P")  # names a partition; any hashable


class LedgerError(RuntimeError):
    """Offsets moved in a way that would lose or repeat records: a bug, never to be retried."""


@dataclass(slots=True, eq=False)
class Ticket(Generic[P]):
    """One chunk in flight; its identity is what acknowledges it.

    Attributes:
        partition: The partition it was fetched from.
        start: First offset it covers.
        end: Offset after the last one it covers; what a commit of it would write.
        size: Bytes it holds in memory.
        acked: Whether it has been acknowledged.
    """

    partition: P
    start: int
    end: int
    size: int
    acked: bool = False


@dataclass(slots=True)
class _Book(Generic[P]):
    position: int | None  # where the next chunk must start; None: wherever it does
    committed: int | None
    committable: int | None = None
    tickets: deque[Ticket[P]] = field(default_factory=deque)


class OffsetLedger(Generic[P]):
    """Chunks in flight per partition. One owner, one thread."""

    def __init__(self) -> None:
        self._books: dict[P, _Book[P]] = {}

    def __iter__(self) -> Iterator[P]:
        """The partitions that are owned."""
        return iter(tuple(self._books))

    def reset(self, partition: P, position: int | None) -> None:
        """Own `partition` from `position` on; whatever was in flight there is abandoned.

        Call it on assignment and on every seek. Tickets of abandoned chunks stay harmless:
        acknowledging one changes nothing.

        Args:
            partition: The partition that was assigned or sought.
            position: Offset of the next fetch, or None where it is not known yet.
        """
        self._books[partition] = _Book(position=position, committed=position)

    def revoke(self, partitions: Iterable[P]) -> None:
        """Forget `partitions`: another consumer owns them now."""
        for partition in partitions:
            self._books.pop(partition, None)

    def open(self, partition: P, start: int, end: int, size: int = 0) -> Ticket[P]:
        """Take the chunk that covers [start, end) and holds `size` bytes into the books.

        Raises:
            LedgerError: If the partition is not owned, the range is empty, it goes back behind
                what was already opened (records would repeat) or leaves a hole after it (records
                would be skipped).
        """
        book = self._books.get(partition)
        if book is None:
            raise LedgerError(
                f"{partition}: chunk [{start}, {end}) of a partition that is not owned"
            )
        if end <= start:
            raise LedgerError(f"{partition}: chunk [{start}, {end}) is empty")
        if book.position is not None and start != book.position:
            what = "goes backwards from" if start < book.position else "skips offsets after"
            raise LedgerError(f"{partition}: chunk [{start}, {end}) {what} {book.position}")
        ticket = Ticket(partition, start, end, size)
        book.tickets.append(ticket)
        book.position = end
        return ticket

    def ack(self, ticket: Ticket[P]) -> bool:
        """Acknowledge a chunk: its outputs are safe.

        Returns:
            False when the chunk had been abandoned by a reset or revocation, and is thus going
            to be delivered again, here or elsewhere.

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
        book = self._books[ticket.partition]
        while book.tickets and book.tickets[0].acked:
            book.committable = book.tickets.popleft().end
        return True

    def holds(self, ticket: Ticket[P]) -> bool:
        """Whether the chunk is in flight; no longer so once it was abandoned."""
        book = self._books.get(ticket.partition)
        return book is not None and any(other is ticket for other in book.tickets)

    def bytes_in_flight(self) -> int:
        """Bytes of all chunks in flight, those that wait behind another one included."""
        return sum(ticket.size for book in self._books.values() for ticket in book.tickets)

    def in_flight(self, partition: P) -> int:
        """Chunks of `partition` that are not acknowledged, or wait behind one that is not."""
        book = self._books.get(partition)
        return len(book.tickets) if book else 0

    def committable(self, partition: P) -> int | None:
        """Offset to commit, or None when there is nothing new to commit."""
        book = self._books.get(partition)
        if book is None or book.committable == book.committed:
            return None
        return book.committable

    def committed(self, partition: P, offset: int) -> None:
        """Note that the broker has stored `offset`.

        Raises:
            LedgerError: If it is behind a commit before, or ahead of what was acknowledged.
        """
        book = self._books.get(partition)
        if book is None:
            return
        if book.committed is not None and offset < book.committed:
            raise LedgerError(f"{partition}: commit went backwards, {book.committed} to {offset}")
        if book.committable is None or offset > book.committable:
            raise LedgerError(f"{partition}: {offset} committed, {book.committable} acknowledged")
        book.committed = offset

    def done(self, partition: P) -> int | None:
        """Offset up to which everything is acknowledged, or None where nothing is known yet."""
        book = self._books.get(partition)
        if book is None:
            return None
        return book.committable if book.committable is not None else book.committed
