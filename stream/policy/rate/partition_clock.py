"""The stream's clock: how much time has passed from request to request, whatever their stamps say.

Capacities, the age of a window and the requests per second that a fleet shares go by the records'
own time, so that a backlog counts as the traffic that it was. But a stamp is what some producer
claims, and no producer's clock is trusted. Only *advances* count, never positions:

- Each partition has a clock (:class:`PartitionClock`) that follows its producers on *tracks*: a
  track is an offset between stamps and the clock, and a stamp moves the clock by what it is ahead
  of it on the nearest track. A stamp that is on no track begins one of its own, and moves nothing.
- With a wall clock (a worker) the stream's time is the weighted mean of its partitions' advances,
  each weighed by its part of the requests, since partitions of a backlog are read out of step.
  Without one (a replay) the requests are one merged history, and have one clock.

What is guaranteed, for any stamps whatever:

1. Time never goes back, and the same stamps (and wall clock) give the same time however cut.
2. Stamps that are less than ``LATE_MS`` behind the newest of their partition and at most
   ``GAP_MS`` ahead of it are followed exactly. Constant offsets do not matter: a partition or a
   producer may be a day ahead or behind.
3. A single wrong stamp, however wrong, moves time by ``GAP_MS`` at most, and by nothing if it is
   more than ``GAP_MS`` off. The first right stamp after wrong ones that far off is followed
   again; after wrong ones that were less than that ahead it is the ``RUN``-th.
4. With a wall clock, time on a partition is never more than ``GAP_MS`` ahead of it, so that in
   the long run no partition's stamps can make time pass faster than it does; and where stamps
   do not move it for ``REWEIGH_MS``, it moves with the wall clock.

Seconds, micro- and nanoseconds since the epoch are told from milliseconds by their size. A stamp of
0 or less says nothing.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.int64]

GAP_MS: Final = 60_000
"""The longest pause between two requests of a partition that stamps alone make believe; one that
the wall clock has seen, too, may be longer."""
LATE_MS: Final = 1_000
"""A stamp that is less behind is late; one that is more so may come from a clock set back."""
RUN: Final = 8
"""So many stamps in a row are not late or ahead by chance."""
TRACKS: Final = 8
"""Offsets that are remembered, the most recently used ones."""
IDLE_MS: Final = 5_000
"""A partition whose clock stands still for so long on the wall has no weight until it moves."""
REWEIGH_MS: Final = 1_000
"""Time on the wall between two weighings of the partitions."""

_ONE: Final = 1 << 16
"""Weights are counted in parts of this, and the stream's time in as many parts of a ms."""
_FEW: Final = 32
"""Requests of a partition before its part of the traffic is known."""
_MANY: Final = 4_096
"""Requests after which what is known of a partition's traffic counts half."""
_STRIDE: Final = 16
"""Stamps that are looked at one by one before the next attempt to take many together."""
_SECONDS, _MILLIS, _MICROS, _NANOS = 10**9, 10**11, 10**14, 10**17
"""The least numbers that are such, since the epoch; of ms that is 1973, of seconds 2001."""


def in_milliseconds(times_N: Times) -> Times:
    """Stamps in milliseconds, whatever unit they were given in.

    Args:
        times_N: Seconds, milli-, micro- or nanoseconds since the epoch; numbers too small to be
            any of these are taken as milliseconds.
    """
    if not len(times_N):
        return times_N
    low, high = times_N.min(), times_N.max()
    if high < _MICROS and (low >= _MILLIS or high < _SECONDS):
        return times_N
    scaled_N = times_N.copy()
    scaled_N[times_N >= _MICROS] //= 1_000
    scaled_N[times_N >= _NANOS] //= 1_000
    scaled_N[(times_N >= _SECONDS) & (times_N < _MILLIS)] *= 1_000
    return scaled_N


class PartitionClock:
    """Time on one partition, or in one merged history, in ms since its first stamp.

    Attributes:
        position: Time that has passed.
        distrusted: Stamps so far that were on no track, late beyond ``LATE_MS``, or unusable.
    """

    def __init__(self) -> None:
        self.position = 0
        self.distrusted = 0
        self._tracks: list[int] = []
        self._lone = False
        self._late = 0
        self._leaps = 0
        self._started: int | None = None
        self._heard: int | None = None

    def read(self, times_N: Times, now_ms: int | None = None) -> Times:
        """Follow the next N stamps, in order.

        Args:
            times_N: In milliseconds, as :func:`in_milliseconds` gives them.
            now_ms: What the wall clock shows, in milliseconds since the epoch; None without one.

        Returns:
            The position after each of them, shape (N,); it never falls.
        """
        position_N = np.empty(len(times_N), np.int64)
        at = 0
        while at < len(times_N):
            if self._lone:
                at += self._follow_many(times_N[at:], position_N[at:], now_ms)
            stop = min(len(times_N), at + _STRIDE)
            for time in times_N[at:stop].tolist():
                self._follow(time, now_ms)
                position_N[at] = self.position
                at += 1
        return position_N

    def _follow_many(self, times_N: Times, position_N: Times, now_ms: int | None) -> int:
        """Follow stamps of the last track while they are regular; returns how many were."""
        track = self._tracks[0]
        clock, count = self.position + track, len(times_N)
        newest_N = np.maximum(np.maximum.accumulate(times_N), clock)
        late_N, newest = newest_N - times_N, int(newest_N[-1])
        most = track + (2**62 if now_ms is None else now_ms + GAP_MS - (self._started or 0))
        if newest > min(clock + GAP_MS, most) or clock <= LATE_MS or late_N.max() > LATE_MS:
            pauses_N = np.diff(newest_N, prepend=clock)
            regular_N = (late_N <= LATE_MS) & (pauses_N <= GAP_MS)
            regular_N &= (newest_N <= most) & (times_N > 0)
            count = count if regular_N.all() else int(regular_N.argmin())
        if count:
            np.subtract(newest_N[:count], track, out=position_N[:count])
            self.position = int(position_N[count - 1])
            self._late = self._leaps = 0
            self._hear(now_ms)
        return count

    def _follow(self, time: int, now_ms: int | None) -> None:
        """Follow one stamp: what :meth:`_follow_many` does for many, and the irregular ones."""
        if time <= 0:
            self.distrusted += 1
            return
        if self._started is None:
            self._started = time if now_ms is None else min(time, now_ms)
        if not self._tracks:
            self._hear(now_ms)
            self._begin(time)
            return
        reach = GAP_MS + self._hear(now_ms)
        leads = [time - self.position - track for track in self._tracks]
        nearest = min(range(len(leads)), key=lambda track: abs(leads[track]))
        lead = leads[nearest]
        if -GAP_MS <= lead <= reach:
            self._touch(nearest)
            self._leaps = 0
            if lead >= -LATE_MS:
                self._late = 0
                self._advance(max(lead, 0), now_ms)
                return
            self.distrusted += 1
            self._late += 1
            if self._late >= RUN:
                self._begin(time)
            return
        self.distrusted += 1
        # One leap after the other, always forward, is how rare requests look.
        self._leaps = self._leaps + 1 if leads[0] > reach else 0
        if self._leaps >= RUN:
            self._advance(GAP_MS, now_ms)
        self._begin(time)

    def _ceiling(self, now_ms: int | None) -> int | None:
        """The position that the wall clock allows; None for any."""
        if now_ms is None or self._started is None:
            return None
        return now_ms + GAP_MS - self._started

    def _advance(self, lead: int, now_ms: int | None) -> None:
        position, ceiling = self.position + lead, self._ceiling(now_ms)
        if ceiling is not None:
            position = max(self.position, min(position, ceiling))
        self.position = position

    def _hear(self, now_ms: int | None) -> int:
        """Note that a request came; returns the ms on the wall since the one before."""
        before, self._heard = self._heard, now_ms
        return 0 if before is None or now_ms is None else max(0, now_ms - before)

    def _begin(self, time: int) -> None:
        """Begin a track on which this stamp is the present."""
        self._late = 0
        self._tracks.insert(0, time - self.position)
        del self._tracks[TRACKS:]
        self._settle()

    def _touch(self, index: int) -> None:
        if index:
            self._tracks.insert(0, self._tracks.pop(index))
            self._settle()

    def _settle(self) -> None:
        """Whether the last track is the nearest one of all stamps that it can follow."""
        own, *others = self._tracks
        self._lone = all(abs(other - own) > 2 * GAP_MS + LATE_MS for other in others)


@dataclass(slots=True)
class _Partition:
    """One partition of a worker.

    Attributes:
        since: The wall clock when counting began.
        moved_at: The wall clock when its time moved last.
        weight: Its part of the stream's time, of ``_ONE``; 0 while it is idle.
        clock: Its clock.
        requests: Requests since counting began.
        moved: What its time moved since, in ms.
    """

    since: int
    moved_at: int
    weight: int
    clock: PartitionClock = field(default_factory=PartitionClock)
    requests: int = 0
    moved: int = 0

    def per_ms(self, now_ms: int) -> float:
        """Requests per ms of its own time, or of the wall's where that is more."""
        return self.requests / max(self.moved, now_ms - self.since, 1)


class StreamClock:
    """The time of the whole stream, of one worker or of a replay."""

    def __init__(self) -> None:
        self._history = PartitionClock()
        self._partitions: dict[int, _Partition] = {}
        self._time = self._time_then = 0
        self._weighed: int | None = None

    @property
    def distrusted(self) -> int:
        """Stamps so far that were not followed."""
        clocks = (partition.clock.distrusted for partition in self._partitions.values())
        return self._history.distrusted + sum(clocks)

    def read(
        self, times_N: Times, partitions_N: Times | None = None, now_ms: int | None = None
    ) -> tuple[Times, Times]:
        """Follow the stamps of the next N requests, in order.

        Args:
            times_N: Their stamps, in any unit since the epoch.
            partitions_N: Where each came from; None or without a wall clock all are one history.
            now_ms: What the wall clock shows, in milliseconds since the epoch; None without one.

        Returns:
            The stream's time at each request, and the time on its own partition, both of shape
            (N,) in ms from some beginning.
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
        moved_N = np.diff(position_N, prepend=0)
        moved_N[starts] = position_N[starts] - before
        for partition, start, stop, position in zip(partitions, starts, stops, before, strict=True):
            partition.requests += stop - start
            if partition.clock.position > position:
                partition.moved += partition.clock.position - position
                partition.moved_at = now_ms
        position_N, moved_N = _in_order(order_N, position_N), _in_order(order_N, moved_N)
        idle = [n for n, p in zip(numbers, partitions, strict=True) if not p.weight]
        if idle:
            self._wake(idle, partitions_N, moved_N, now_ms)
        lengths = np.diff(stops, prepend=0)
        moved_N *= _in_order(order_N, np.repeat([p.weight for p in partitions], lengths))
        moved_N[0] += self._time
        np.cumsum(moved_N, out=moved_N)
        self._time = int(moved_N[-1])
        return moved_N >> 16, position_N

    def _partition(self, number: int, now_ms: int) -> _Partition:
        if number not in self._partitions:
            self._partitions[number] = _Partition(now_ms, now_ms, 0)
        return self._partitions[number]

    def _wake(self, idle: list[int], partitions_N: Times, moved_N: Times, now_ms: int) -> None:
        """Give partitions that were idle an equal part, until their own is known.

        One wakes up as soon as its time moves; that move itself is its pause, and does not count.
        """
        first = {number: (moved_N > 0) & (partitions_N == number) for number in idle}
        moves = sorted((int(at_N.argmax()), number) for number, at_N in first.items() if at_N.any())
        for at, number in moves:
            moved_N[at] = 0
            partition = self._partitions[number]
            busy = sum(other.weight > 0 for other in self._partitions.values())
            partition.weight = _ONE // (1 + busy)
            partition.since = partition.moved_at = now_ms
            later_N = partitions_N[at + 1 :] == number
            partition.requests = int(np.count_nonzero(later_N))
            partition.moved = int(moved_N[at + 1 :][later_N].sum())

    def _reweigh(self, now_ms: int) -> None:
        """Once a second: each partition's part of the stream's time is that of the requests."""
        elapsed = now_ms - (now_ms if self._weighed is None else self._weighed)
        if self._weighed is not None and 0 <= elapsed < REWEIGH_MS:
            return
        if self._time == self._time_then:
            self._time += max(0, elapsed) * _ONE
        self._weighed, self._time_then = now_ms, self._time
        busy = [p for p in self._partitions.values() if abs(now_ms - p.moved_at) <= IDLE_MS]
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
                partition.moved //= 2
                partition.since = now_ms - (now_ms - partition.since) // 2


def _runs(partitions_N: Times) -> tuple[npt.NDArray[np.intp] | None, list[int], list[int]]:
    """An order in which each partition has one run, where these start, and whose they are.

    The order is None where they are so already.
    """
    starts = [0, *(np.flatnonzero(np.diff(partitions_N)) + 1).tolist()]
    numbers: list[int] = partitions_N[starts].tolist()
    if len(set(numbers)) == len(numbers):
        return None, starts, numbers
    order_N = np.argsort(partitions_N, kind="stable")
    _, starts, numbers = _runs(partitions_N[order_N])
    return order_N, starts, numbers


def _in_order(order_N: npt.NDArray[np.intp] | None, values_N: Times) -> Times:
    """Values back in the order of the stream."""
    if order_N is None:
        return values_N
    found_N = np.empty_like(values_N)
    found_N[order_N] = values_N
    return found_N
