"""Keeps the policy up to date: follows the topics ``control`` and ``consumption``.

Every worker reads both topics from the beginning, outside any consumer group, before its first
request and then as they grow, so that all workers hold the same settings. The event loop applies a
change between two batches of requests. A message that cannot be used is refused with its
coordinates and a reason, in log and metrics, and the previous policy stays in force. A start waits
for the two topics for a limited time; after that requests are decided while the rest is read.
"""

import logging
import time
from typing import Final

from aiokafka import ConsumerRecord
from mode import Service

from models.settings import Settings
from stream.messages import read_change, read_scenario, read_spending
from stream.messages.parsing import RecordError
from stream.messages.topic_follower import TopicFollower
from stream.metrics.worker import WorkerMetrics
from stream.policy import Policy

logger = logging.getLogger(__name__)

START_LIMIT_S: Final = 20.0
"""Longest that a start waits for both topics together: some 300,000 messages."""
POLL_RECORDS: Final = 500
MAX_AHEAD_MS: Final = 60_000
"""A report from further in the future is refused: it would outdate all reports before its time."""


class ControlWatcher(Service):  # type: ignore[misc]
    """Applies the messages of ``control`` and ``consumption`` to the policy.

    Args:
        settings: Brokers and topics.
        policy: The policy that is changed.
        metrics: Exports the applied revision and counts refusals.
    """

    def __init__(self, settings: Settings, policy: Policy, metrics: WorkerMetrics) -> None:
        super().__init__()
        self._settings = settings
        self._policy = policy
        self._metrics = metrics
        self._applied: list[tuple[int, str]] = []

    async def on_start(self) -> None:
        """Apply everything that is on the topics, within ``START_LIMIT_S``."""
        kafka, topics, refusals = (
            self._settings.kafka,
            self._settings.topics,
            self._metrics.refusals,
        )
        self._control, self._consumption = (
            TopicFollower(
                *(kafka, topic, handle, refusals),
                consequence="refused, the old policy stays",
                max_records=POLL_RECORDS,
            )
            for topic, handle in (
                (topics.control, self._apply_change),
                (topics.consumption, self._apply_spending),
            )
        )
        stop_s = time.monotonic() + START_LIMIT_S
        for follower in (self._control, self._consumption):
            await self.add_async_context(follower)
            if not await follower.poll_to_end(max(0.0, stop_s - time.monotonic())):
                logger.warning(
                    "%s: too long to be read before the first request; the policy is what has "
                    "been read so far, and changes while the rest is read",
                    follower.topic,
                )
            self._log_applied()

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch_control(self) -> None:
        while not self.should_stop:
            await self._control.poll()
            self._log_applied()

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch_consumption(self) -> None:
        while not self.should_stop:
            await self._consumption.poll()

    def _apply_change(self, record: ConsumerRecord) -> None:
        scenario = read_scenario(record.key)
        self._policy.apply_change(scenario, read_change(record.value))
        self._metrics.control_applied(record.offset)
        self._applied.append((record.offset, scenario))

    def _log_applied(self) -> None:
        """Log the changes since the last call, in one line however many there are."""
        if self._applied:
            revision, scenario = self._applied[-1]
            logger.info(
                "control revision %d is in force: %d changes, the last one of scenario %.80r",
                *(revision, len(self._applied), scenario),
            )
            self._applied.clear()

    def _apply_spending(self, record: ConsumerRecord) -> None:
        spending = read_spending(record.value)
        ahead_ms = spending.ts - time.time_ns() // 1_000_000
        if ahead_ms > MAX_AHEAD_MS:
            raise RecordError(f"consumption.ts: {ahead_ms} ms ahead of this worker's clock")
        self._policy.apply_spending(read_scenario(record.key), spending)
