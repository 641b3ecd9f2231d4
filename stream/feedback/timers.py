"""Event-time timers of the join: a calendar queue, at some 20 bytes per timer besides its key.

Keys are in buckets of time, unordered; only the buckets that have begun are kept in order. A heap
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
    """Timers by key, of which a key may have any number; each fires once.

    Args:
        width_ms: Length of a bucket; the timers within one bucket are sorted when it begins.
    """

    def __init__(self, width_ms: int) -> None:
        self._width_ms = width_ms
        self._buckets: dict[int, _Bucket] = {}
        self._bucket_heap: list[int] = []
        self._begun_heap: list[tuple[int, bytes]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, due_ms: int, key: bytes) -> None:
        """Set a timer that fires once stream time is later than `due_ms`."""
        number = due_ms // self._width_ms
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = _Bucket()
            heapq.heappush(self._bucket_heap, number)
        bucket.due.append(due_ms)
        bucket.keys.append(key)
        self._count += 1

    def fire(self, now_ms: int) -> list[bytes]:
        """Remove the timers that were due before `now_ms`; returns their keys, earliest first."""
        while self._bucket_heap and self._bucket_heap[0] * self._width_ms < now_ms:
            bucket = self._buckets.pop(heapq.heappop(self._bucket_heap))
            self._begun_heap += zip(bucket.due, bucket.keys, strict=True)
            heapq.heapify(self._begun_heap)
        fired: list[bytes] = []
        while self._begun_heap and self._begun_heap[0][0] < now_ms:
            fired.append(heapq.heappop(self._begun_heap)[1])
        self._count -= len(fired)
        return fired
