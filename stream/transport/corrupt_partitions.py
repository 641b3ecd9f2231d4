"""Partitions paused at a batch with a wrong checksum.

What lies before the batch is delivered, then the partition is paused. Brokers check what they
append, so no producer can write such a batch: a disk or the network damaged it. The next fetch, or
another replica, may return it intact, so the partition is fetched again with exponential backoff
while all others continue. Skipping the batch is left to an operator, so that nothing is lost
unnoticed.
"""

from collections.abc import Callable
from time import monotonic
from typing import Final

from faust.types import TP

from stream.kafka.batches import CorruptBatchError
from stream.transport.incidents import Incidents

FIRST_BACKOFF_S: Final = 1.0
LAST_BACKOFF_S: Final = 60.0


class CorruptPartitions:
    """Partitions that are paused at a corrupt batch; ``tp in`` it while its backoff lasts.

    Args:
        incidents: Every pause and its end is reported to it.
        clock: Seconds, monotonic.
    """

    def __init__(self, incidents: Incidents, clock: Callable[[], float] = monotonic) -> None:
        self._incidents = incidents
        self._clock = clock
        self._retry: dict[TP, tuple[float, float]] = {}  # when to fetch again, and the backoff

    def __contains__(self, tp: TP) -> bool:
        retry = self._retry.get(tp)
        return retry is not None and retry[0] > self._clock()

    def __bool__(self) -> bool:
        return bool(self._retry)

    def pause(self, error: CorruptBatchError) -> None:
        """Do not fetch from the partition for a while, twice as long each time."""
        tp = TP(error.topic, error.partition)
        _, before_s = self._retry.get(tp, (0.0, FIRST_BACKOFF_S / 2))
        backoff_s = min(2 * before_s, LAST_BACKOFF_S)
        self._retry[tp] = (self._clock() + backoff_s, backoff_s)
        self._incidents.partition_paused(error, backoff_s)

    def resume(self, *partitions: TP) -> None:
        """Remove partitions after a successful fetch, or when they are no longer owned."""
        for tp in partitions:
            if self._retry.pop(tp, None) is not None:
                self._incidents.partition_resumed(tp.topic, tp.partition)

    def clear(self) -> None:
        """Remove all partitions."""
        self.resume(*tuple(self._retry))
