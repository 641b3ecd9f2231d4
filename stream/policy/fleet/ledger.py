"""What one worker has decided in one scenario: passes owed, and requests per second.

The passes owed less those given are counted since the worker started, whatever partitions it had:
only their changes count for the fleet, so nothing has to be transferred when a partition moves.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.policy.rate.levels import ONE

HALF_LIFE_S: Final = 5.0
"""A request counts half in the requests per second after this time."""


@dataclass(slots=True)
class _Partition:
    """Traffic of one partition; times in milliseconds.

    Attributes:
        since: Time on the partition at the last request before the last measurement.
        newest: The same at the newest request.
        requests: Requests since the last measurement.
        idle_ms: Wall-clock time without any since ``since``.
        count: Requests before it, decayed.
        span_ms: Time in which they were made, decayed likewise.
    """

    since: int
    newest: int
    requests: int = 0
    idle_ms: float = 0.0
    count: float = 0.0
    span_ms: float = 0.0

    def measure(self, elapsed_s: float) -> float:
        """Requests per second of event time, so that a backlog counts as the traffic that it was.

        Where event time stands still, time is ``elapsed_s``.
        """
        kept = 0.5 ** (elapsed_s / HALF_LIFE_S)
        elapsed_ms = 1000.0 * elapsed_s
        if not self.requests:
            self.idle_ms += elapsed_ms
        else:
            elapsed_ms = max(0.0, self.newest - self.since - self.idle_ms) or elapsed_ms
            self.idle_ms = 0.0
        self.count = kept * self.count + self.requests
        self.span_ms = kept * self.span_ms + elapsed_ms
        self.requests, self.since = 0, self.newest
        return 1000.0 * self.count / self.span_ms


class Ledger:
    """Passes owed and requests per second of one worker in one scenario.

    Attributes:
        requests: Requests since the last measurement.
    """

    def __init__(self) -> None:
        self.requests = 0
        self._owed = 0
        self._partitions: dict[int, _Partition] = {}
        self._own: frozenset[int] | None = None

    @property
    def owed(self) -> float:
        """Passes owed less passes given since the start."""
        return self._owed / ONE

    def assign(self, partitions: frozenset[int]) -> None:
        """Count the traffic of these partitions from now on, and of no others."""
        self._own = partitions
        for number in self._partitions.keys() - partitions:
            del self._partitions[number]

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
        owed, count = round(share * ONE), len(passed_N)
        self.requests += count
        if owed:
            self._owed += owed * count - int(np.count_nonzero(passed_N)) * ONE
        counts_P = np.bincount(partitions_N)
        newest_P = np.empty(len(counts_P), np.int64)
        newest_P[partitions_N] = times_N  # the last one of each partition stays
        for number in np.flatnonzero(counts_P).tolist():
            found = self._partitions.get(number)
            if found is None:
                if self._own is not None and number not in self._own:
                    continue  # revoked, and still in flight
                first = int(times_N[partitions_N == number][0])
                found = self._partitions[number] = _Partition(first, first)
            found.requests += int(counts_P[number])
            found.newest = int(newest_P[number])

    def measure(self, elapsed_s: float) -> float:
        """Requests per second, over the last seconds.

        Args:
            elapsed_s: Time since the last call; above 0.
        """
        self.requests = 0
        return sum(found.measure(elapsed_s) for found in self._partitions.values())
