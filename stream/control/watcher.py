"""Which policy is in force: follows ``control`` and ``consumption`` and tells the policy.

Every worker reads both topics whole, from outside any group, before its first request and then as
they grow, so that all of them hold the same settings. The event loop hands a change to the policy
between two steps of a fetch. Whatever is wrong with a message, it is refused with its coordinates
and a reason, in log and metrics, and the old policy stays in force. A start waits for the two
topics for so long at most; then requests are decided while the rest is read.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from aiokafka import ConsumerRecord
from mode import Service

from models.settings import Settings
from stream.kafka.reader import TopicReader
from stream.messages import read_change, read_scenario, read_spending
from stream.messages.parsing import RecordError
from stream.metrics.worker import WorkerMetrics
from stream.policy import Policy

logger = logging.getLogger(__name__)

BEGIN_S: Final = 20.0
"""Longest wait for what was said before a start: some 300,000 messages."""
POLL_RECORDS: Final = 500
TURN_RECORDS: Final = 50
"""Messages between two turns of the event loop, some 2 ms."""
AHEAD_MS: Final = 60_000
"""A report from a later time is refused: after it, all that come in time would be old."""


class ControlWatcher(Service):  # type: ignore[misc]
    """Keeps the policy in line with what was said live.

    Args:
        settings: Brokers and topics.
        policy: What is steered.
        metrics: Where the applied revision and refusals are shown.
    """

    def __init__(self, settings: Settings, policy: Policy, metrics: WorkerMetrics) -> None:
        super().__init__()
        self._settings = settings
        self._policy = policy
        self._metrics = metrics
        self._changes: list[tuple[int, str]] = []

    async def on_start(self) -> None:
        """Put everything said so far in force."""
        topics, refuse = self._settings.topics, self._metrics.refusals.refuse_batch
        self._control = TopicReader(self._settings.kafka, topics.control, refuse)
        self._consumption = TopicReader(self._settings.kafka, topics.consumption, refuse)
        limit_s = time.monotonic() + BEGIN_S
        for reader, take in ((self._control, self._steer), (self._consumption, self._spend)):
            await self.add_async_context(reader)
            while not all([await reader.at_end(tp) for tp in reader.partitions]):
                await self._poll(reader, take)
                if time.monotonic() > limit_s:
                    logger.warning(
                        "%s: too long to be read before the first request; the policy is what "
                        "has been read so far, and changes while the rest is read",
                        reader.topic,
                    )
                    break

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch_control(self) -> None:
        while not self.should_stop:
            await self._poll(self._control, self._steer)

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch_consumption(self) -> None:
        while not self.should_stop:
            await self._poll(self._consumption, self._spend)

    async def _poll(self, reader: TopicReader, take: Callable[[ConsumerRecord], None]) -> None:
        """Take in what came; returns after half a second without anything."""
        for records in (await reader.fetch(reader.partitions, POLL_RECORDS)).values():
            for number, record in enumerate(records, 1):
                with self._metrics.refusals.guard(record, "refused, the old policy stays"):
                    take(record)
                if number % TURN_RECORDS == 0:
                    await asyncio.sleep(0)
        self._log_changes()

    def _steer(self, record: ConsumerRecord) -> None:
        scenario = read_scenario(record.key)
        self._policy.steer(scenario, read_change(record.value))
        self._metrics.control_applied(record.offset)
        self._changes.append((record.offset, scenario))

    def _log_changes(self) -> None:
        """Say what came into force, in one line however much it was."""
        if self._changes:
            revision, scenario = self._changes[-1]
            count = len(self._changes)
            logger.info(
                "control revision %d is in force: %d changes, the last one of scenario %.80r",
                *(revision, count, scenario),
            )
            self._changes.clear()

    def _spend(self, record: ConsumerRecord) -> None:
        spending = read_spending(record.value)
        ahead_ms = spending.ts - time.time_ns() // 1_000_000
        if ahead_ms > AHEAD_MS:
            raise RecordError(f"consumption.ts: {ahead_ms} ms ahead of this worker's clock")
        self._policy.spend(read_scenario(record.key), spending)
