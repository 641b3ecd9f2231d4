"""Which requests a join keeps when not all of them fit: a share, by id, so that nothing is biased.

A request is kept or not by the hash of its id alone, whatever becomes of it. The share is
stored with it: weighted with its inverse, the examples stand for all requests. The share is a
power of two, so a smaller one keeps a part of what a larger one would. Half of the budget is for
anything that comes. Beyond it the share is the largest with which the budget lasts, given how many
bytes arrive per second of stream time, and when those that are held will leave. Nothing that is
held is ever given up.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import xxhash

from models.bounds import MAX_HALVINGS

#: Of the budget: what may fill up whatever the rate, what the share aims at, what is worth a
#: warning.
FREE: Final = 0.5
AIM: Final = 0.9
WARN: Final = 0.8
#: Buckets of the longest window, in which arrivals and departures are counted.
BUCKETS: Final = 64
#: Buckets of arrivals that make the rate; before this part of one it is not known.
RATE_BUCKETS: Final = 8
LEAST_BUCKET: Final = 1 / 8
#: Other draws by id start from the plain hash.
_SEED: Final = 0x6B6570
_HASHES: Final = 2**64


@dataclass(slots=True)
class Admission:
    """What one partition of the join holds, and which new requests it keeps.

    Args:
        budget_bytes: Most bytes of pending requests.
        hold_ms: How long a request is held at most.
    """

    budget_bytes: int
    hold_ms: int
    halvings: int = 0
    held_bytes: int = field(default=0, init=False)
    _width_ms: int = field(init=False)
    _leaving: dict[int, int] = field(default_factory=dict, init=False)
    _arrived: deque[list[int]] = field(default_factory=deque, init=False)
    _raised_ms: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._width_ms = max(1, self.hold_ms // BUCKETS)

    @property
    def share(self) -> float:
        """The share of new requests that is kept."""
        return 2.0**-self.halvings

    @property
    def full(self) -> bool:
        """Whether so much is held that a person should know."""
        return self.held_bytes > WARN * self.budget_bytes

    def keeps(self, key: bytes) -> bool:
        """Whether the request with this id is among the share."""
        return xxhash.xxh3_64_intdigest(key, _SEED) < _HASHES >> self.halvings

    def has_room(self, size: int) -> bool:
        """Whether `size` bytes more are within the budget."""
        return self.held_bytes + size <= self.budget_bytes

    def offered(self, size: int, now_ms: int) -> None:
        """Count a request that came, kept or not."""
        bucket = now_ms // self._width_ms
        if not self._arrived or self._arrived[-1][0] < bucket:
            self._arrived.append([bucket, now_ms, 0])
            if len(self._arrived) > RATE_BUCKETS:
                self._arrived.popleft()
        self._arrived[-1][2] += size

    def hold(self, size: int, ts: int) -> None:
        """A request of time `ts` is held from now on."""
        self._change(size, ts)

    def release(self, size: int, ts: int) -> None:
        """It is held no longer."""
        self._change(-size, ts)

    def adjust(self, now_ms: int) -> None:
        """Set the share for the requests to come: lowered at once, raised step by step."""
        wanted = self._wanted_halvings(now_ms)
        if wanted > self.halvings:
            self.halvings = wanted
            self._raised_ms = now_ms
        elif wanted < self.halvings and self._may_raise(now_ms):
            self.halvings -= 1
            self._raised_ms = now_ms

    def _may_raise(self, now_ms: int) -> bool:
        return self._raised_ms is None or not (0 <= now_ms - self._raised_ms < self._width_ms)

    def _wanted_halvings(self, now_ms: int) -> int:
        if self.held_bytes <= FREE * self.budget_bytes:
            return 0
        arriving = self._bytes_per_bucket(now_ms)
        if arriving is None:
            return self.halvings
        share = self._lasting_share(now_ms, arriving)
        halvings = 0
        while halvings < MAX_HALVINGS and 2.0**-halvings > share:
            halvings += 1
        return halvings

    def _lasting_share(self, now_ms: int, arriving: float) -> float:
        """The largest share with which the budget lasts until all that is held has left."""
        now = now_ms // self._width_ms
        room = AIM * self.budget_bytes - self.held_bytes
        room += sum(size for bucket, size in self._leaving.items() if bucket < now)
        share = 1.0
        for ahead in range(1, BUCKETS + 2):
            share = min(share, room / (ahead * arriving))
            room += self._leaving.get(now + ahead - 1, 0)
        return share

    def _bytes_per_bucket(self, now_ms: int) -> float | None:
        """How much arrives, kept or not; None where that is not known yet."""
        if not self._arrived:
            return None
        elapsed = (now_ms - self._arrived[0][1]) / self._width_ms
        arrived = sum(size for _, _, size in self._arrived)
        return arrived / elapsed if elapsed >= LEAST_BUCKET and arrived else None

    def _change(self, size: int, ts: int) -> None:
        self.held_bytes += size
        bucket = (ts + self.hold_ms) // self._width_ms
        left = self._leaving.get(bucket, 0) + size
        if left:
            self._leaving[bucket] = left
        else:
            self._leaving.pop(bucket, None)
