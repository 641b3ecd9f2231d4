"""Log lines about the memory of a feedback worker: its capacity, and when requests are sampled."""

import logging
from typing import Final

from models.features import FeatureSpec
from models.settings import FeedbackSettings
from models.tasks import TaskSet
from stream.feedback.early_outcomes import EARLY_PART
from stream.feedback.join import ENTRY_BYTES, FeedbackJoin

logger = logging.getLogger(__name__)

#: Bytes of a typical request besides its features: its id, decision and spec hash.
TYPICAL_BYTES: Final = 36 + 125
#: The warning about memory is rearmed below this part of the budget.
REARM: Final = 0.7


class MemoryReport:
    """Logs the capacity of the join, and a warning when memory is short.

    Args:
        settings: Memory budget, time scale and lateness.
        tasks: Tasks, whose longest window is the time that requests are held.
        spec: Feature spec of the requests.
    """

    def __init__(self, settings: FeedbackSettings, tasks: TaskSet, spec: FeatureSpec) -> None:
        width = 2 if spec.rows <= 2**16 else 4
        self.request_bytes = TYPICAL_BYTES + width * spec.columns + ENTRY_BYTES
        self._budget_bytes = settings.max_memory_bytes
        self.capacity = int(self._budget_bytes * (1 - EARLY_PART) / self.request_bytes)
        longest = max(task.window_s for task in tasks) / settings.time_scale
        self._hold_s = longest + settings.lateness_s
        self._halvings: dict[int, int] = {}
        self._warned: set[int] = set()

    def log_capacity(self) -> None:
        """Log how many requests fit, and which rate that sustains."""
        logger.info(
            "memory for %d pending requests of %d bytes (feedback.max_memory_bytes = %d); each is "
            "pending for up to %.0f s, so %.1f requests/s fit; above that rate a sample is kept",
            *(self.capacity, self.request_bytes, self._budget_bytes),
            *(self._hold_s, self.capacity / self._hold_s),
        )

    def recovered(self, partition: int, join: FeedbackJoin) -> None:
        """Start again with the recovered state of a partition."""
        self._halvings[partition] = join.sampler.halvings
        self._warned.discard(partition)
        if join.other_tasks:
            logger.error(
                "partition %d of the join: %d pending requests were stored for other tasks than "
                "those of the settings; they are kept, without labels, until their last window "
                "closes: configure the same tasks again, or accept the loss",
                *(partition, join.other_tasks),
            )
        self.check(partition, join)

    def check(self, partition: int, join: FeedbackJoin) -> None:
        """Warn when a partition is nearly full, and at each change of the sampled share."""
        sampler = join.sampler
        if sampler.nearly_full and partition not in self._warned:
            self._warned.add(partition)
            logger.warning(
                "partition %d of the join holds %d requests in %d of %d bytes; raise "
                "feedback.max_memory_bytes, or add feedback workers",
                *(partition, join.pending, sampler.held_bytes, sampler.budget_bytes),
            )
        elif sampler.held_bytes < REARM * sampler.budget_bytes:
            self._warned.discard(partition)
        if self._halvings.get(partition, 0) != sampler.halvings:
            self._halvings[partition] = sampler.halvings
            logger.warning(
                "partition %d of the join samples %g of new requests, by id, so that memory "
                "suffices for the longest window; all %d requests that it holds are kept",
                *(partition, sampler.share, join.pending),
            )
