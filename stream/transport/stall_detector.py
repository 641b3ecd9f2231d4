"""Detects partitions that have work and make no progress, and for how long.

Pure bookkeeping, in place of Faust's livelock detector. That one watches the commits that go
through Faust, and none do here: outputs and offsets are one transaction, or the ledger commits. So
it reported every healthy partition as stuck, five minutes after the start.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)


@dataclass(slots=True)
class _Observed:
    progress: object
    since_s: float
    reported_s: float


class StallDetector(Generic[P]):
    """Progress per partition, observed periodically.

    Args:
        limit_s: A partition that has work and makes no progress for this long is stalled.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._observed: dict[P, _Observed] = {}

    def observe(self, partition: P, progress: object, now_s: float, *, working: bool) -> bool:
        """Record the progress of one partition.

        Args:
            partition: The partition.
            progress: Any value that changes with progress, such as its offsets.
            now_s: Time of the observation, monotonic.
            working: Whether the partition has work.

        Returns:
            Whether to report a stall: when the limit is reached, and after every further limit.
        """
        seen = self._observed.get(partition)
        if seen is None or not working or seen.progress != progress:
            self._observed[partition] = _Observed(progress, now_s, now_s)
            return False
        if now_s - seen.reported_s < self._limit_s:
            return False
        seen.reported_s = now_s
        return True

    def retain(self, partitions: Iterable[P]) -> None:
        """Keep these partitions and remove all others, which are no longer owned."""
        kept = set(partitions)
        for partition in [partition for partition in self._observed if partition not in kept]:
            del self._observed[partition]

    def idle_s(self, partition: P, now_s: float) -> float:
        """Seconds since the last progress, or since there was last no work."""
        seen = self._observed.get(partition)
        return 0.0 if seen is None else now_s - seen.since_s
