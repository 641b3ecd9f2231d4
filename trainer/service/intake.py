"""The trainer's intake: consumed records of both topics, validated, buffered and stored.

Memory is bounded: a batch is stored once it reaches ``FLUSH_BYTES``, and while it cannot be stored
(a full disk) nothing more is consumed. A batch that could not be stored is tried again as it is,
because its commit may have been written although the answer was lost.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from aiokafka import TopicPartition

from models.features import FeatureSpec
from models.process.threads import in_daemon_thread
from models.settings import Settings
from trainer.pipeline.validation import read_example, read_outcome
from trainer.service.metrics import TrainerMetrics
from trainer.store.example_store import Batch, ExampleStore
from trainer.store.lease import Lease
from trainer.store.schemas import StoredExample, StoredOutcome
from trainer.store.watermark import Watermark
from trainer.store.windows import AttributionWindows

logger = logging.getLogger(__name__)

#: A batch is stored when one of these is reached.
FLUSH_BYTES: Final = 32 << 20
FLUSH_S: Final = 10.0
#: The watermark of an idle trainer is stored when it has moved by this much.
IDLE_MS: Final = 60_000
Clock = Callable[[], float]


class Intake:
    """Buffers consumed records and stores them.

    Args:
        settings: All settings.
        store: Where they are stored; it must not change otherwise.
        lease: Nothing is stored while this is not held.
        metrics: Counts accepted and refused records, and failures.
        clock: Seconds since the epoch.

    Attributes:
        spec: Feature spec of the serving artifact; None while it is not known.
        watermark: The watermark, as of everything that was consumed.
    """

    def __init__(
        self,
        settings: Settings,
        store: ExampleStore,
        lease: Lease,
        metrics: TrainerMetrics,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._tasks = settings.task_set
        self._store = store
        self._lease = lease
        self._metrics = metrics
        self._clock = clock
        feedback = settings.feedback
        self._windows = AttributionWindows(self._tasks, feedback.time_scale, feedback.lateness_s)
        self.start()
        self.spec: FeatureSpec | None = None
        self._batch = Batch()
        self._retried: tuple[Batch, int | None] | None = None
        self._stored_at = clock()

    def start(self) -> None:
        """Start from the watermark in the store, when this trainer has become its writer."""
        now_ms = int(self._clock() * 1000)
        self.watermark = Watermark(self._windows.skew_ms, self._store.watermark, now_ms)

    @property
    def is_stuck(self) -> bool:
        """Whether a batch waits for another attempt to store it."""
        return self._retried is not None

    @property
    def buffered(self) -> int:
        """Number of rows that are not stored yet."""
        return len(self._batch) + (len(self._retried[0]) if self._retried else 0)

    @property
    def is_due(self) -> bool:
        """Whether it is time to store."""
        waited = self._clock() - self._stored_at >= FLUSH_S
        return waited or (self._batch.bytes >= FLUSH_BYTES and not self.is_stuck)

    def consume(self, tp: TopicPartition, records: Sequence[Any]) -> None:
        """Take records of one partition of one of the two topics, in order of their offsets."""
        next_offset = records[-1].offset + 1
        if tp.topic == self._settings.topics.examples:
            self._read_examples(records)
            self._batch.example_offsets[tp.partition] = next_offset
        else:
            self._read_outcomes(records)
            self._batch.outcome_offsets[tp.partition] = next_offset

    def tick(self, *, outcomes_read: bool, examples_read: bool) -> None:
        """Let time pass; see :meth:`trainer.store.watermark.Watermark.tick`."""
        self.watermark.tick(
            int(self._clock() * 1000), outcomes_read=outcomes_read, examples_read=examples_read
        )

    async def store(self) -> bool:
        """Store what is buffered; False if that failed, and it stays in memory.

        Raises:
            AnotherWriterError: If another trainer writes to the store.
        """
        self._stored_at = self._clock()
        attempt = self._retried or (self._batch, self.watermark.ms)
        if self._retried is None:
            if not self._has_news():
                return True
            self._batch = Batch()
        self._retried = attempt
        if not self._lease.is_held:
            self._failed("the lease of the store could not be renewed")
            return False
        try:
            await in_daemon_thread(lambda: self._store.append(*attempt))
        except OSError as error:
            self._failed(str(error))
            return False
        self._retried = None
        return True

    def _has_news(self) -> bool:
        if self._batch.example_offsets or self._batch.outcome_offsets:
            return True
        return (self.watermark.ms or 0) >= (self._store.watermark or 0) + IDLE_MS

    def _failed(self, reason: str) -> None:
        self._metrics.error("store")
        logger.warning(
            "%d rows cannot be stored: %s; they are kept in memory and retried in %.0f s; free "
            "space on the disk of trainer.store",
            *(self.buffered, reason, FLUSH_S),
        )

    def _read_examples(self, records: Sequence[Any]) -> None:
        days = self._settings.trainer.retention_days
        now_ms = int(self._clock() * 1000)
        for record in records:
            accepted = False
            with self._metrics.refusals.guard(record, "not learned"):
                example = read_example(record.value, self.spec, now_ms, days)
                row = StoredExample.of(example, record.partition, record.offset)
                self._batch.add_example(row)
                self.watermark.observe(example.ts, now_ms)
                accepted = True
            self._metrics.consumed("examples", accepted=accepted)

    def _read_outcomes(self, records: Sequence[Any]) -> None:
        days = self._settings.trainer.retention_days
        now_ms = int(self._clock() * 1000)
        for record in records:
            accepted = False
            with self._metrics.refusals.guard(record, "not learned"):
                outcome = read_outcome(record.value, self._tasks, now_ms, days)
                self._batch.add_outcome(StoredOutcome(outcome, record.partition, record.offset))
                self._metrics.positive(outcome.task)
                accepted = True
            self._metrics.consumed("outcomes", accepted=accepted)
