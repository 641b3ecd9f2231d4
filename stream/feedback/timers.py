"""When each key is due: a calendar queue, which takes some 20 bytes per key beside the key.

Keys lie in buckets of time, unordered; only the buckets that have begun are kept in order. A heap
of all keys would take 100 bytes per key.
"""

import heapq
from array import array
from dataclasses import dataclass, field


@dataclass(slots=True)
class _Bucket:
    due: "array[int]" = field(default_factory=lambda: array("q"))
    keys: list[bytes] = field(default_factory=list)


class Timers:
    """A key may have any number of timers; each is given back once.

    Args:
        width_ms: Length of a bucket; what is due within one of them is ordered at once.
    """

    def __init__(self, width_ms: int) -> None:
        self._width_ms = width_ms
        self._buckets: dict[int, _Bucket] = {}
        self._order: list[int] = []
        self._near: list[tuple[int, bytes]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, due_ms: int, key: bytes) -> None:
        """Give `key` back once it is later than `due_ms`."""
        number = due_ms // self._width_ms
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = _Bucket()
            heapq.heappush(self._order, number)
        bucket.due.append(due_ms)
        bucket.keys.append(key)
        self._count += 1

    def take(self, now_ms: int) -> list[bytes]:
        """The keys that were due before `now_ms`, the earliest first."""
        while self._order and self._order[0] * self._width_ms < now_ms:
            bucket = self._buckets.pop(heapq.heappop(self._order))
            self._near += zip(bucket.due, bucket.keys, strict=True)
            heapq.heapify(self._near)
        taken: list[bytes] = []
        while self._near and self._near[0][0] < now_ms:
            taken.append(heapq.heappop(self._near)[1])
        self._count -= len(taken)
        return taken
