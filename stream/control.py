"""Which policy is in force: follows ``control`` and ``consumption`` and tells the policy.

Every worker reads both topics whole, from outside any group, before its first request and then as
they grow, so that all of them hold the same settings. The event loop hands a change to the policy
between two steps of a fetch. A bad message is refused with a reason, in log and metrics, and the
old policy stays in force.
"""

import asyncio
import logging
from collections.abc import Callable

from aiokafka import ConsumerRecord
from mode import Service

from models.settings import Settings
from stream.control_records import read_change, read_scenario, read_spending
from stream.metrics import WorkerMetrics
from stream.policy import Policy, PolicyError
from stream.reading import TopicReader
from stream.records import RecordError

logger = logging.getLogger(__name__)


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

    async def on_start(self) -> None:
        """Put everything said so far in force."""
        topics, refuse = self._settings.topics, self._metrics.refusals.refuse_batch
        self._control = TopicReader(self._settings.kafka, topics.control, refuse)
        self._consumption = TopicReader(self._settings.kafka, topics.consumption, refuse)
        for reader, take in ((self._control, self._steer), (self._consumption, self._spend)):
            await self.add_async_context(reader)
            while not all([await reader.at_end(tp) for tp in reader.partitions]):
                await self._poll(reader, take)

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
        for records in (await reader.fetch(reader.partitions)).values():
            for record in records:
                try:
                    take(record)
                except (RecordError, PolicyError) as error:
                    where = f"{record.topic}[{record.partition}]@{record.offset}"
                    self._metrics.control_refused(record.topic)
                    logger.error(  # noqa: TRY400 - the message says it all
                        "%s: refused: %s; the old policy stays", where, error
                    )
                await asyncio.sleep(0)

    def _steer(self, record: ConsumerRecord) -> None:
        scenario = read_scenario(record.key)
        change = read_change(record.value)
        self._policy.steer(scenario, change)
        self._metrics.control_applied(record.offset)
        logger.info("control revision %d applies to %s: %s", record.offset, scenario, change)

    def _spend(self, record: ConsumerRecord) -> None:
        self._policy.spend(read_scenario(record.key), read_spending(record.value))
