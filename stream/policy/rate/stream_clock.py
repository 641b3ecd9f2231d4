"""Event time of a whole stream: the clocks of its partitions, weighted by their traffic.

With a wall clock (a worker) the stream's time is the weighted mean of its partitions' advances,
each weighted by its share of the requests, because the partitions of a backlog are read out of
step. Without one (a replay) the requests are one merged history and have one clock.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.policy.rate.partition_clock import PartitionClock, Times, in_milliseconds

IDLE_MS: Final = 5_000
"""A partition whose clock has not advanced for this wall-clock time has no weight until it does."""
REWEIGH_MS: Final = 1_000
"""Wall-clock time between two updates of the partitions' weights."""

_ONE: Final = 1 << 16
"""Weights are multiples of 1 / ``_ONE``, and the stream's time of a ms / ``_ONE``."""
_FEW: Final = 32
"""Requests of a partition before its share of the traffic is known."""
_MANY: Final = 4_096
"""Requests after which the counts of a partition are halved, so that older traffic fades out."""


@dataclass(slots=True)
class _Partition:
    """Clock, traffic and weight of one partition of a worker.

    Attributes:
        counted_from_ms: Wall-clock time at which counting began.
        advanced_at_ms: Wall-clock time of the last advance of its clock.
        weight: Share of the stream's time, in units of 1 / ``_ONE``; 0 while it is idle.
        clock: Event time of the partition.
        requests: Requests since counting began.
        advanced_ms: Advance of its clock since counting began.
    """

    counted_from_ms: int
    advanced_at_ms: int
    weight: int
    clock: PartitionClock = field(default_factory=PartitionClock)
    requests: int = 0
    advanced_ms: int = 0

    def per_ms(self, now_ms: int) -> float:
        """Requests per ms of event time, or of wall-clock time if more of that has passed."""
        return self.requests / max(self.advanced_ms, now_ms - self.counted_from_ms, 1)


class StreamClock:
    """Event time of a whole stream, of one worker or of a replay."""

    def __init__(self) -> None:
        self._history = PartitionClock()
        self._partitions: dict[int, _Partition] = {}
        self._time = self._time_at_reweigh = 0
        self._reweighed_ms: int | None = None

    @property
    def distrusted(self) -> int:
        """Timestamps so far that were not followed."""
        clocks = (partition.clock.distrusted for partition in self._partitions.values())
        return self._history.distrusted + sum(clocks)

    def read(
        self, times_N: Times, partitions_N: Times | None = None, now_ms: int | None = None
    ) -> tuple[Times, Times]:
        """Follow the timestamps of the next N requests, in order.

        Args:
            times_N: Timestamps, in any unit since the epoch.
            partitions_N: Partition of each; if None, or without a wall clock, all are one history.
            now_ms: Wall-clock time in ms since the epoch; None without a wall clock.

        Returns:
            The stream's time at each request, and the time on its own partition, both of shape
            (N,) in ms from an arbitrary origin.
        """
        times_N = in_milliseconds(times_N)
        if now_ms is None or partitions_N is None:
            position_N = self._history.read(times_N)
            return position_N, position_N
        self._reweigh(now_ms)
        if not len(times_N):
            return times_N, times_N
        order_N, starts, numbers = _runs(partitions_N)
        run_N = times_N if order_N is None else times_N[order_N]
        stops = [*starts[1:], len(times_N)]
        partitions = [self._partition(number, now_ms) for number in numbers]
        before = [partition.clock.position for partition in partitions]
        position_N = np.concatenate(
            [
                partition.clock.read(run_N[start:stop], now_ms)
                for partition, start, stop in zip(partitions, starts, stops, strict=True)
            ]
        )
        advances_N = np.diff(position_N, prepend=0)
        advances_N[starts] = position_N[starts] - before
        for partition, start, stop, position in zip(partitions, starts, stops, before, strict=True):
            partition.requests += stop - start
            if partition.clock.position > position:
                partition.advanced_ms += partition.clock.position - position
                partition.advanced_at_ms = now_ms
        position_N, advances_N = _in_order(order_N, position_N), _in_order(order_N, advances_N)
        idle = [n for n, p in zip(numbers, partitions, strict=True) if not p.weight]
        if idle:
            self._activate(idle, partitions_N, advances_N, now_ms)
        lengths = np.diff(stops, prepend=0)
        advances_N *= _in_order(order_N, np.repeat([p.weight for p in partitions], lengths))
        advances_N[0] += self._time
        np.cumsum(advances_N, out=advances_N)
        self._time = int(advances_N[-1])
        return advances_N >> 16, position_N

    def _partition(self, number: int, now_ms: int) -> _Partition:
        if number not in self._partitions:
            self._partitions[number] = _Partition(now_ms, now_ms, 0)
        return self._partitions[number]

    def _activate(
        self, idle: list[int], partitions_N: Times, advances_N: Times, now_ms: int
    ) -> None:
        """Give idle partitions whose clock advances an equal weight, until their own is known.

        The first advance is the length of the pause, and does not count.
        """
        first = {number: (advances_N > 0) & (partitions_N == number) for number in idle}
        advanced = sorted(
            (int(at_N.argmax()), number) for number, at_N in first.items() if at_N.any()
        )
        for at, number in advanced:
            advances_N[at] = 0
            partition = self._partitions[number]
            busy = sum(other.weight > 0 for other in self._partitions.values())
            partition.weight = _ONE // (1 + busy)
            partition.counted_from_ms = partition.advanced_at_ms = now_ms
            later_N = partitions_N[at + 1 :] == number
            partition.requests = int(np.count_nonzero(later_N))
            partition.advanced_ms = int(advances_N[at + 1 :][later_N].sum())

    def _reweigh(self, now_ms: int) -> None:
        """Once a second, set each partition's weight to its share of the requests."""
        elapsed = now_ms - (now_ms if self._reweighed_ms is None else self._reweighed_ms)
        if self._reweighed_ms is not None and 0 <= elapsed < REWEIGH_MS:
            return
        if self._time == self._time_at_reweigh:
            self._time += max(0, elapsed) * _ONE
        self._reweighed_ms, self._time_at_reweigh = now_ms, self._time
        busy = [p for p in self._partitions.values() if abs(now_ms - p.advanced_at_ms) <= IDLE_MS]
        known = [p.per_ms(now_ms) for p in busy if p.requests >= _FEW]
        typical = sum(known) / len(known) if known else 1.0
        rates = [p.per_ms(now_ms) if p.requests >= _FEW else typical for p in busy]
        total = sum(rates)
        for partition in self._partitions.values():
            partition.weight = 0
        for partition, rate in zip(busy, rates, strict=True):
            partition.weight = max(1, round(_ONE * rate / total))
            if partition.requests >= _MANY:
                partition.requests //= 2
                partition.advanced_ms //= 2
                age_ms = now_ms - partition.counted_from_ms
                partition.counted_from_ms = now_ms - age_ms // 2


def _runs(partitions_N: Times) -> tuple[npt.NDArray[np.intp] | None, list[int], list[int]]:
    """Group requests by partition: a stable order, the starts of the runs, and their partitions.

    The order is None if the requests are grouped already.
    """
    starts = [0, *(np.flatnonzero(np.diff(partitions_N)) + 1).tolist()]
    numbers: list[int] = partitions_N[starts].tolist()
    if len(set(numbers)) == len(numbers):
        return None, starts, numbers
    order_N = np.argsort(partitions_N, kind="stable")
    _, starts, numbers = _runs(partitions_N[order_N])
    return order_N, starts, numbers


def _in_order(order_N: npt.NDArray[np.intp] | None, values_N: Times) -> Times:
    """Undo :func:`_runs`: values in the order of the stream."""
    if order_N is None:
        return values_N
    found_N = np.empty_like(values_N)
    found_N[order_N] = values_N
    return found_N
