"""Which partitions have work to do and make no progress, and for how long.

Pure bookkeeping, in the place of Faust's livelock detector. That one looks at commits that go
through Faust, and none do here: outputs and offsets are one transaction, or the ledger's commit.
So it called every healthy partition stuck, five minutes after the start.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)


@dataclass(slots=True)
class _Seen:
    progress: object
    since_s: float
    told_s: float


class StallWatch(Generic[P]):
    """Progress per partition, looked at now and then.

    Args:
        limit_s: A partition that has work and makes no progress for so long is stalled.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._seen: dict[P, _Seen] = {}

    def look(self, partition: P, progress: object, now_s: float, *, working: bool) -> bool:
        """Take a look at one partition.

        Args:
            partition: The partition.
            progress: Anything that is another while it makes progress, such as its offsets.
            now_s: When, monotonic.
            working: Whether it has anything to do.

        Returns:
            Whether to report a stall: when the limit is reached, and again after each limit more.
        """
        seen = self._seen.get(partition)
        if seen is None or not working or seen.progress != progress:
            self._seen[partition] = _Seen(progress, now_s, now_s)
            return False
        if now_s - seen.told_s < self._limit_s:
            return False
        seen.told_s = now_s
        return True

    def keep(self, partitions: Iterable[P]) -> None:
        """Forget all others: they are another consumer's now."""
        kept = set(partitions)
        for partition in [partition for partition in self._seen if partition not in kept]:
            del self._seen[partition]

    def idle_s(self, partition: P, now_s: float) -> float:
        """Seconds since the last progress, or since there was last nothing to do."""
        seen = self._seen.get(partition)
        return 0.0 if seen is None else now_s - seen.since_s
