"""Load shedding of the join: when memory runs short, an unbiased sample of the requests is kept.

Whether a request is sampled depends on the hash of its id alone, not on what happens to it, and
the share is stored with it: weighted with the inverse of the share, the examples represent all
requests. Shares are powers of two, so a smaller sample is a subset of a larger one.

Up to half of the memory budget every request is sampled. Above that the share is the largest with
which the budget suffices, given how many bytes arrive per second of stream time, and when the
requests that are held will expire. A request that is held is never evicted.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import xxhash

from models.bounds import MAX_HALVINGS

#: Parts of the budget: what may fill up at any arrival rate, what the share is chosen to fill,
#: what is worth a warning.
FREE: Final = 0.5
TARGET: Final = 0.9
WARN: Final = 0.8
#: The hold time is divided into this many buckets, in which arrivals and expiries are counted.
BUCKETS: Final = 64
#: The arrival rate is measured over this many buckets; over less than this part of one bucket it
#: is unknown.
RATE_BUCKETS: Final = 8
MIN_RATE_BUCKETS: Final = 1 / 8
#: The plain hash of the id picks partitions and exploration; the sample must not depend on those.
_SEED: Final = 0x6B6570
_HASHES: Final = 2**64


@dataclass(slots=True)
class RequestSampler:
    """Memory held by one partition of the join, and the sample of new requests that it takes.

    Args:
        budget_bytes: Maximum memory of pending requests.
        hold_ms: Maximum time from a request to its expiry, in ms of stream time.
        halvings: The share is ``1 / 2**halvings``.
    """

    budget_bytes: int
    hold_ms: int
    halvings: int = 0
    held_bytes: int = field(default=0, init=False)
    _width_ms: int = field(init=False)
    _expiring: dict[int, int] = field(default_factory=dict, init=False)
    _arrivals: deque[list[int]] = field(default_factory=deque, init=False)
    _adjusted_ms: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._width_ms = max(1, self.hold_ms // BUCKETS)

    @property
    def share(self) -> float:
        """The share of new requests that is sampled."""
        return 2.0**-self.halvings

    @property
    def nearly_full(self) -> bool:
        """Whether the held memory is above the threshold of the warning."""
        return self.held_bytes > WARN * self.budget_bytes

    def selects(self, key: bytes) -> bool:
        """Whether the request with this id is in the sample."""
        return xxhash.xxh3_64_intdigest(key, _SEED) < _HASHES >> self.halvings

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes are within the budget."""
        return self.held_bytes + size <= self.budget_bytes

    def arrived(self, size: int, now_ms: int) -> None:
        """Count an arriving request into the arrival rate, whether it is sampled or not."""
        bucket = now_ms // self._width_ms
        if not self._arrivals or self._arrivals[-1][0] < bucket:
            self._arrivals.append([bucket, now_ms, 0])
            if len(self._arrivals) > RATE_BUCKETS:
                self._arrivals.popleft()
        self._arrivals[-1][2] += size

    def hold(self, size: int, ts: int) -> None:
        """Add the memory of a request with event time `ts`."""
        self._add(size, ts)

    def release(self, size: int, ts: int) -> None:
        """Subtract the memory of a request with event time `ts`."""
        self._add(-size, ts)

    def adjust(self, now_ms: int) -> None:
        """Set the share for the next requests: lowered at once, doubled at most once a bucket."""
        wanted = self._wanted_halvings(now_ms)
        if wanted > self.halvings:
            self.halvings = wanted
            self._adjusted_ms = now_ms
        elif wanted < self.halvings and self._may_raise(now_ms):
            self.halvings -= 1
            self._adjusted_ms = now_ms

    def _may_raise(self, now_ms: int) -> bool:
        return self._adjusted_ms is None or not (0 <= now_ms - self._adjusted_ms < self._width_ms)

    def _wanted_halvings(self, now_ms: int) -> int:
        if self.held_bytes <= FREE * self.budget_bytes:
            return 0
        arriving = self._arriving_per_bucket(now_ms)
        if arriving is None:
            return self.halvings
        share = self._sustainable_share(now_ms, arriving)
        halvings = 0
        while halvings < MAX_HALVINGS and 2.0**-halvings > share:
            halvings += 1
        return halvings

    def _sustainable_share(self, now_ms: int, arriving: float) -> float:
        """The largest share with which the budget suffices until all held requests expire."""
        now = now_ms // self._width_ms
        room = TARGET * self.budget_bytes - self.held_bytes
        room += sum(size for bucket, size in self._expiring.items() if bucket < now)
        share = 1.0
        for ahead in range(1, BUCKETS + 2):
            share = min(share, room / (ahead * arriving))
            room += self._expiring.get(now + ahead - 1, 0)
        return share

    def _arriving_per_bucket(self, now_ms: int) -> float | None:
        """Arrival rate in bytes per bucket, before sampling; None while it is unknown."""
        if not self._arrivals:
            return None
        elapsed = (now_ms - self._arrivals[0][1]) / self._width_ms
        arrived = sum(size for _, _, size in self._arrivals)
        return arrived / elapsed if elapsed >= MIN_RATE_BUCKETS and arrived else None

    def _add(self, size: int, ts: int) -> None:
        self.held_bytes += size
        bucket = (ts + self.hold_ms) // self._width_ms
        left = self._expiring.get(bucket, 0) + size
        if left:
            self._expiring[bucket] = left
        else:
            self._expiring.pop(bucket, None)
