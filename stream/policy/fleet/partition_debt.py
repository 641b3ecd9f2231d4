"""What is due on each partition: the books that a fleet's workers hand to each other.

A partition's passes due are what its owner took over plus what it owed and gave itself, exactly.
Owners are told apart by the number of their tenure. What was taken over may change while the owner
before finishes what it had in hand: the words of an earlier tenure count whenever they come. Those
of a later one say that the partition is another's, even before the group says so; a lost partition
keeps its books until then.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.bounds import MAX_TENURE
from stream.messages import PartitionState
from stream.policy.rate.levels import ONE


class Entry(NamedTuple):
    """What to say of a partition: passes due there, requests per second, number of the tenure."""

    partition: int
    due: float
    per_second: float
    tenure: int


@dataclass(slots=True)
class _Book:
    """One partition; passes in units of 2^-32, times in milliseconds.

    Attributes:
        taken_over: Passes due as the owner before said; None until this worker is the owner.
        tenure: Number of this worker's tenure.
        own: Passes owed less passes given since.
        requests: Requests since the last report.
        newest: Time on the partition at the last request.
        since: The same at the last report; at first at the first request.
        per_second: Requests per second as last said, by the owner before too; None if never.
    """

    taken_over: int | None = None
    tenure: int = 0
    own: int = 0
    requests: int = 0
    newest: int | None = None
    since: int | None = None
    per_second: float | None = None

    def measure(self, elapsed_s: float) -> float:
        """Requests per second by the records' own time, halfway from what was said before.

        So a backlog counts as the traffic that it was. Where that time stands still, what was said
        before stays, and if nothing was, it is ``elapsed_s``.
        """
        requests, since, self.requests, self.since = self.requests, self.since, 0, self.newest
        if not requests:
            speed = 0.0
        elif since is not None and self.newest is not None and self.newest > since:
            speed = 1000.0 * requests / (self.newest - since)
        elif self.per_second is None:
            speed = requests / elapsed_s
        else:
            speed = self.per_second
        self.per_second = speed if self.per_second is None else (speed + self.per_second) / 2.0
        return self.per_second


class PartitionBooks:
    """The books of the partitions that a worker has, or had until lately."""

    def __init__(self) -> None:
        self._books: dict[int, _Book] = {}
        self._own: frozenset[int] = frozenset()

    def own(
        self, partitions: frozenset[int], heard: Callable[[int], PartitionState | None]
    ) -> None:
        """These partitions are this worker's from now on.

        Args:
            partitions: All of them.
            heard: What was last heard of a partition.
        """
        for partition in partitions - self._own:
            book, state = self._books.setdefault(partition, _Book()), heard(partition)
            if state is None:
                book.taken_over = book.taken_over or 0
            elif book.taken_over is None or state.tenure > book.tenure:
                book.taken_over, book.tenure = round(state.due * ONE), _after(state.tenure)
                book.per_second = state.per_second or None
        self._own = partitions

    def account(
        self,
        partitions_N: npt.NDArray[np.int64],
        times_N: npt.NDArray[np.int64],
        passed_N: npt.NDArray[np.bool_],
        share: float,
    ) -> None:
        """Count N requests.

        Args:
            partitions_N: Where each came from.
            times_N: Time on its partition at each, in milliseconds; it never falls.
            passed_N: Whether each passed.
            share: Passes owed for each; 0 where none are, whatever passed.
        """
        owed = round(share * ONE)
        counts_P = np.bincount(partitions_N)
        given_P = np.bincount(partitions_N[passed_N], minlength=len(counts_P))
        newest_P = np.empty(len(counts_P), np.int64)
        newest_P[partitions_N] = times_N  # the last one of each partition stays
        for partition in np.flatnonzero(counts_P).tolist():
            book = self._books.setdefault(partition, _Book())
            requests, newest = int(counts_P[partition]), int(newest_P[partition])
            book.requests += requests
            if book.newest is None:
                book.newest = book.since = int(times_N[partitions_N == partition][0])
            book.newest = newest
            if owed:
                book.own += owed * requests - int(given_P[partition]) * ONE

    def hear(self, partition: int, due: float, tenure: int) -> None:
        """Another worker said what is due on a partition."""
        book = self._books.get(partition)
        if book is None or book.taken_over is None:
            return
        if tenure > book.tenure:
            del self._books[partition]
            self._own -= {partition}
        else:
            book.taken_over, book.tenure = round(due * ONE), max(book.tenure, _after(tenure))

    def report(self, elapsed_s: float) -> list[Entry]:
        """What to say of the own partitions if any had requests, and of lost ones that still had.

        Args:
            elapsed_s: Time since the last report; above 0.
        """
        busy: Collection[int] = {p for p, book in self._books.items() if book.requests}
        if not busy:
            return []
        return [
            Entry(
                partition,
                ((book.taken_over or 0) + book.own) / ONE,
                book.measure(elapsed_s),
                book.tenure,
            )
            for partition, book in sorted(self._books.items())
            if partition in self._own or (partition in busy and book.taken_over is not None)
        ]


def _after(tenure: int) -> int:
    """The number of the tenure after this one; nobody reads greater ones than the greatest."""
    return min(tenure + 1, MAX_TENURE)
