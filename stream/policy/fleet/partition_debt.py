"""The debt of each partition, and how it is transferred from owner to owner.

A partition's debt is the passes owed less the passes given there: what its owner inherited plus
what it added itself, exactly. Owners are ordered by the generation of their assignment. The
inherited debt may still change while the previous owner finishes its batches in flight: updates of
an earlier generation count whenever they arrive. An update of a later generation means that the
partition has another owner, even before the rebalance reports it; a partition that was revoked
keeps its debt here until then.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.bounds import MAX_GENERATION
from stream.messages import PartitionState
from stream.policy.rate.levels import ONE


class DebtUpdate(NamedTuple):
    """What to publish of a partition: its debt, requests per second, and generation."""

    partition: int
    debt: float
    per_second: float
    generation: int


@dataclass(slots=True)
class _Partition:
    """Debt and traffic of one partition; passes in units of 2^-32, times in milliseconds.

    Attributes:
        inherited: Debt as published by the previous owner; None until this worker is the owner.
        generation: Generation of this worker's assignment.
        added: Passes owed less passes given by this worker.
        requests: Requests since the last update.
        newest: Time on the partition at the last request.
        since: The same at the last update; before one, at the first request.
        per_second: Requests per second as last published, by any owner; None if never.
    """

    inherited: int | None = None
    generation: int = 0
    added: int = 0
    requests: int = 0
    newest: int | None = None
    since: int | None = None
    per_second: float | None = None

    def measure(self, elapsed_s: float) -> float:
        """Requests per second of event time, averaged with the value published before.

        So a backlog counts as the traffic that it was. Where event time stands still, the value
        published before stays; if there is none, time is ``elapsed_s``.
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


class PartitionDebts:
    """Debts of the partitions that a worker owns, or owned until recently."""

    def __init__(self) -> None:
        self._partitions: dict[int, _Partition] = {}
        self._own: frozenset[int] = frozenset()

    def assign(
        self, partitions: frozenset[int], latest: Callable[[int], PartitionState | None]
    ) -> None:
        """Own these partitions from now on, and no others; inherit the debts of new ones.

        Args:
            partitions: All partitions of this worker.
            latest: Returns the latest state of a partition, if there is one.
        """
        for number in partitions - self._own:
            partition, state = self._partitions.setdefault(number, _Partition()), latest(number)
            if state is None:
                partition.inherited = partition.inherited or 0
            elif partition.inherited is None or state.generation > partition.generation:
                partition.inherited = round(state.debt * ONE)
                partition.generation = _next_generation(state.generation)
                partition.per_second = state.per_second or None
        self._own = partitions

    def record(
        self,
        partitions_N: npt.NDArray[np.int64],
        times_N: npt.NDArray[np.int64],
        passed_N: npt.NDArray[np.bool_],
        share: float,
    ) -> None:
        """Add N decided requests.

        Args:
            partitions_N: Partition of each.
            times_N: Time on its partition at each, in milliseconds; it never falls.
            passed_N: Whether each passed.
            share: Passes owed for each; 0 if none are owed, whatever passed.
        """
        owed = round(share * ONE)
        counts_P = np.bincount(partitions_N)
        given_P = np.bincount(partitions_N[passed_N], minlength=len(counts_P))
        newest_P = np.empty(len(counts_P), np.int64)
        newest_P[partitions_N] = times_N  # the last one of each partition stays
        for number in np.flatnonzero(counts_P).tolist():
            partition = self._partitions.setdefault(number, _Partition())
            requests, newest = int(counts_P[number]), int(newest_P[number])
            partition.requests += requests
            if partition.newest is None:
                partition.newest = partition.since = int(times_N[partitions_N == number][0])
            partition.newest = newest
            if owed:
                partition.added += owed * requests - int(given_P[number]) * ONE

    def receive(self, number: int, debt: float, generation: int) -> None:
        """Another worker published the debt of a partition."""
        partition = self._partitions.get(number)
        if partition is None or partition.inherited is None:
            return
        if generation > partition.generation:
            del self._partitions[number]
            self._own -= {number}
        else:
            partition.inherited = round(debt * ONE)
            partition.generation = max(partition.generation, _next_generation(generation))

    def updates(self, elapsed_s: float) -> list[DebtUpdate]:
        """What to publish: all own partitions if any had requests, and revoked ones that had some.

        Args:
            elapsed_s: Time since the last call; above 0.
        """
        busy: Collection[int] = {n for n, found in self._partitions.items() if found.requests}
        if not busy:
            return []
        return [
            DebtUpdate(
                number,
                ((partition.inherited or 0) + partition.added) / ONE,
                partition.measure(elapsed_s),
                partition.generation,
            )
            for number, partition in sorted(self._partitions.items())
            if number in self._own or (number in busy and partition.inherited is not None)
        ]


def _next_generation(generation: int) -> int:
    """The generation after this one; the greatest one that a message may have stays."""
    return min(generation + 1, MAX_GENERATION)
