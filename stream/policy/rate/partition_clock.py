"""Event time of one partition: how much time passes between requests, by untrusted timestamps.

Capacities, the age of a window and the requests per second that a fleet shares are measured in
event time, so that a backlog counts as the traffic that it was. A timestamp is a claim of its
producer, and no producer's clock is trusted. Only *advances* count, never absolute positions: the
clock follows its producers on *tracks*. A track is an offset between timestamps and the clock. A
timestamp advances the clock by what it is ahead of it on the nearest track; one that is on no track
starts a track of its own and advances nothing. :mod:`stream.policy.rate.stream_clock` combines the
clocks of a worker's partitions.

Guarantees for arbitrary timestamps:

1. Time never goes back, and the same timestamps (and wall clock) give the same time, whatever the
   batches are that they are read in.
2. Timestamps at most ``LATE_MS`` behind the newest of their partition and at most ``GAP_MS``
   ahead of it are followed exactly. Constant offsets do not matter: a partition or a producer may
   be a day ahead or behind.
3. A single wrong timestamp, however wrong, advances time by ``GAP_MS`` at most, and by nothing if
   it is more than ``GAP_MS`` off. After wrong timestamps that far off the first correct one is
   followed again; after wrong ones less than that ahead, the ``RUN``-th.
4. With a wall clock, time on a partition is never more than ``GAP_MS`` ahead of it, so that in the
   long run no partition's timestamps can make time pass faster than it does; and where timestamps
   do not advance the stream for a second (``REWEIGH_MS``), it advances with the wall clock.

The unit of a timestamp (seconds, milli-, micro- or nanoseconds since the epoch) is recognised by
its magnitude. A timestamp of 0 or less carries no information.
"""

from collections.abc import Mapping
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

Times = npt.NDArray[np.int64]

GAP_MS: Final = 60_000
"""Longest pause between two requests of a partition that is accepted from timestamps alone; a pause
that the wall clock confirms may be longer."""
LATE_MS: Final = 1_000
"""A timestamp at most this far behind is late; one further behind may mean a clock set back."""
RUN: Final = 8
"""This many consecutive timestamps are not late or ahead by chance."""
TRACKS: Final = 8
"""Tracks that are kept, the most recently used ones."""
_STRIDE: Final = 16
"""Timestamps that are read one by one before the next attempt to read many at once."""
_SECONDS, _MILLIS, _MICROS, _NANOS = 10**9, 10**11, 10**14, 10**17
"""Smallest timestamp of each unit since the epoch; in ms that is the year 1973, in s 2001."""


def in_milliseconds(times_N: Times) -> Times:
    """Timestamps in milliseconds, whatever their unit.

    Args:
        times_N: Seconds, milli-, micro- or nanoseconds since the epoch; smaller numbers count as
            milliseconds.
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
    """Event time of one partition, or of one merged history, in ms since its first timestamp.

    Attributes:
        position: Time that has passed, in ms.
        distrusted: Timestamps so far that were on no track, later than ``LATE_MS``, or unusable.
    """

    def __init__(self) -> None:
        self.position = 0
        self.distrusted = 0
        self._tracks: list[int] = []
        self._isolated = False
        self._late = 0
        self._leaps = 0
        self._started: int | None = None
        self._last_arrival_ms: int | None = None

    def state(self) -> dict[str, Any]:
        """All that it remembers, as JSON."""
        return {**vars(self), "_tracks": [*self._tracks]}

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Self:
        """A clock that goes on where :meth:`state` was taken."""
        clock = cls()
        vars(clock).update(state)
        return clock

    def read(self, times_N: Times, now_ms: int | None = None) -> Times:
        """Follow the next N timestamps, in order.

        Args:
            times_N: Timestamps in ms, as returned by :func:`in_milliseconds`.
            now_ms: Wall-clock time in ms since the epoch; None without a wall clock.

        Returns:
            The position after each of them, shape (N,); it never falls.
        """
        position_N = np.empty(len(times_N), np.int64)
        at = 0
        while at < len(times_N):
            if self._isolated:
                at += self._follow_many(times_N[at:], position_N[at:], now_ms)
            stop = min(len(times_N), at + _STRIDE)
            for time in times_N[at:stop].tolist():
                self._follow(time, now_ms)
                position_N[at] = self.position
                at += 1
        return position_N

    def _follow_many(self, times_N: Times, position_N: Times, now_ms: int | None) -> int:
        """Follow timestamps of the current track while they are regular; returns their number."""
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
            self._note_arrival(now_ms)
        return count

    def _follow(self, time: int, now_ms: int | None) -> None:
        """Follow one timestamp, regular (as :meth:`_follow_many` does) or irregular."""
        if time <= 0:
            self.distrusted += 1
            return
        if self._started is None:
            self._started = time if now_ms is None else min(time, now_ms)
        if not self._tracks:
            self._note_arrival(now_ms)
            self._start_track(time)
            return
        reach = GAP_MS + self._note_arrival(now_ms)
        leads = [time - self.position - track for track in self._tracks]
        nearest = min(range(len(leads)), key=lambda track: abs(leads[track]))
        lead = leads[nearest]
        if -GAP_MS <= lead <= reach:
            self._use_track(nearest)
            self._leaps = 0
            if lead >= -LATE_MS:
                self._late = 0
                self._advance(max(lead, 0), now_ms)
                return
            self.distrusted += 1
            self._late += 1
            if self._late >= RUN:
                self._start_track(time)
            return
        self.distrusted += 1
        # Infrequent requests give this pattern: one leap after the other, always forward.
        self._leaps = self._leaps + 1 if leads[0] > reach else 0
        if self._leaps >= RUN:
            self._advance(GAP_MS, now_ms)
        self._start_track(time)

    def _ceiling(self, now_ms: int | None) -> int | None:
        """Greatest position that the wall clock allows; None without a limit."""
        if now_ms is None or self._started is None:
            return None
        return now_ms + GAP_MS - self._started

    def _advance(self, lead: int, now_ms: int | None) -> None:
        position, ceiling = self.position + lead, self._ceiling(now_ms)
        if ceiling is not None:
            position = max(self.position, min(position, ceiling))
        self.position = position

    def _note_arrival(self, now_ms: int | None) -> int:
        """Note the arrival of a request; returns the wall-clock ms since the previous one."""
        before, self._last_arrival_ms = self._last_arrival_ms, now_ms
        return 0 if before is None or now_ms is None else max(0, now_ms - before)

    def _start_track(self, time: int) -> None:
        """Start a track on which this timestamp is the current time."""
        self._late = 0
        self._tracks.insert(0, time - self.position)
        del self._tracks[TRACKS:]
        self._check_isolation()

    def _use_track(self, index: int) -> None:
        if index:
            self._tracks.insert(0, self._tracks.pop(index))
            self._check_isolation()

    def _check_isolation(self) -> None:
        """Note whether the current track is the nearest one of all timestamps within its reach."""
        own, *others = self._tracks
        self._isolated = all(abs(other - own) > 2 * GAP_MS + LATE_MS for other in others)
