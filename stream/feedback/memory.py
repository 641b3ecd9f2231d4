"""Log lines about the memory of a feedback worker: how much fits, and what was left out."""

import logging

from models.features import FeatureSpec
from models.settings import FeedbackSettings
from models.tasks import TaskSet
from stream.feedback.early_outcomes import HELD_PART
from stream.feedback.join import ENTRY_BYTES, FeedbackJoin

logger = logging.getLogger(__name__)

#: Of an ordinary request: its id, and the decision and spec beside its features.
ORDINARY_BYTES = 36 + 125


class MemoryReport:
    """Logs what fits, and when that is not enough.

    Args:
        settings: The budget, and the scale of time.
        tasks: Whose longest window requests wait for.
        spec: Whose features are held.
    """

    def __init__(self, settings: FeedbackSettings, tasks: TaskSet, spec: FeatureSpec) -> None:
        width = 2 if spec.rows <= 2**16 else 4
        self.request_bytes = ORDINARY_BYTES + width * spec.columns + ENTRY_BYTES
        self._budget_bytes = settings.max_memory_bytes
        self.capacity = int(self._budget_bytes * (1 - HELD_PART) / self.request_bytes)
        longest = max(task.window_s for task in tasks) / settings.time_scale
        self._hold_s = longest + settings.lateness_s
        self._halvings: dict[int, int] = {}
        self._full: set[int] = set()

    def log_capacity(self) -> None:
        """At the start: how many requests fit, and which rate that is."""
        logger.info(
            "memory for %d waiting requests of %d bytes (feedback.max_memory_bytes = %d); each "
            "waits for up to %.0f s, so %.1f a second fit, of more a share by id is kept",
            *(self.capacity, self.request_bytes, self._budget_bytes),
            *(self._hold_s, self.capacity / self._hold_s),
        )

    def recovered(self, partition: int, join: FeedbackJoin) -> None:
        """Start over with a partition's recovered state."""
        self._halvings[partition] = join.admission.halvings
        self._full.discard(partition)
        if join.foreign:
            logger.error(
                "partition %d of the join: %d waiting requests were stored for other tasks than "
                "the settings name; they are kept until their last window closes, without being "
                "joined: name the same tasks again, or take their loss",
                *(partition, join.foreign),
            )
        self.changed(partition, join)

    def changed(self, partition: int, join: FeedbackJoin) -> None:
        """Look at a partition after a chunk: warns at 80 %, and at each change of the share."""
        admission = join.admission
        if admission.full and partition not in self._full:
            self._full.add(partition)
            logger.warning(
                "partition %d of the join holds %d requests in %d of %d bytes; raise "
                "feedback.max_memory_bytes, or add feedback workers",
                *(partition, join.pending, admission.held_bytes, admission.budget_bytes),
            )
        elif admission.held_bytes < 0.7 * admission.budget_bytes:
            self._full.discard(partition)
        if self._halvings.get(partition, 0) != admission.halvings:
            self._halvings[partition] = admission.halvings
            logger.warning(
                "partition %d of the join keeps %g of new requests, by id, so that memory lasts "
                "for the longest window; it holds %d requests, all of which stay",
                *(partition, admission.share, join.pending),
            )
