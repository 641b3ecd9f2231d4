"""Exports the lag and the members of Weir's consumer groups, and checks that the brokers answer.

A worker knows the lag of its own partitions only, and stops exporting it when it ends. So every
process reads, for the groups of both roles, the committed offsets and the end offsets from the
brokers, and exports the lag of every partition: those of a worker that is gone stay visible.
Whether the brokers answer is also a condition of being ready.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError, NodeNotReadyError, for_code
from mode import Service
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from models.process.health import Health
from models.settings import Settings
from stream.kafka.client import client_options
from stream.kafka.rights import feedback_group

logger = logging.getLogger(__name__)

#: From the end of one check to the next.
PERIOD_S: Final = 10.0
#: Brokers that take longer to answer count as unreachable.
ANSWER_S: Final = 8.0
#: Between two tries of one check.
RETRY_S: Final = 0.5
#: How often the partitions of the topics are read.
REFRESH_S: Final = 60.0
#: The condition of `Health` that is met while the brokers answer.
BROKER: Final = "broker"

_UNREACHABLE: Final = (KafkaConnectionError, NodeNotReadyError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class GroupState:
    """State of a consumer group on the brokers.

    Attributes:
        lag: Records after the committed offset, by topic and partition number.
        members: Consumers in the group.
    """

    lag: Mapping[tuple[str, int], int]
    members: int


def lag(
    committed: Mapping[TopicPartition, int],
    begins: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
) -> dict[tuple[str, int], int]:
    """Records not yet consumed, per partition of ``ends``.

    Where no offset is committed, or retention has deleted the record there, all that are left.
    """
    return {
        (tp.topic, tp.partition): max(0, end - max(committed.get(tp, 0), begins.get(tp, 0)))
        for tp, end in ends.items()
    }


def groups_of(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The topics that each consumer group of Weir reads, by group."""
    topics = settings.topics
    return {
        settings.kafka.group: (topics.requests,),
        feedback_group(settings): (topics.passed,),
    }


class GroupMetrics(Collector):
    """Gauges of all groups, as of the last check.

    Args:
        registry: Registry of the process.
        expected: Number of workers that should be ready.
    """

    def __init__(self, registry: CollectorRegistry, expected: int) -> None:
        self._states: Mapping[str, GroupState] = {}
        registry.register(self)
        Gauge(
            "weir_workers_expected",
            "Least number of workers that should be ready.",
            registry=registry,
        ).set(expected)

    def update(self, states: Mapping[str, GroupState]) -> None:
        """Export these states; those of groups that are not among them disappear."""
        self._states = dict(states)

    def collect(self) -> Iterator[Metric]:
        """The samples of one scrape."""
        lags = GaugeMetricFamily(
            "weir_group_lag",
            "Records after the committed offset of a consumer group, by partition.",
            labels=["group", "topic", "partition"],
        )
        members = GaugeMetricFamily("weir_group_members", "Consumers in a group.", labels=["group"])
        for group, state in self._states.items():
            for (topic, partition), records in state.lag.items():
                lags.add_metric([group, topic, str(partition)], records)
            members.add_metric([group], state.members)
        yield lags
        yield members


class GroupWatch(Service):  # type: ignore[misc]
    """Checks the groups every ten seconds.

    A check has its own retries instead of those of :class:`stream.kafka.admin.Admin`: it has to
    end within :data:`ANSWER_S`, and connects anew after an error.

    Args:
        settings: Brokers, topics, group.
        metrics: Exports what was found.
        health: Its condition ``broker`` is set here.
    """

    def __init__(self, settings: Settings, metrics: GroupMetrics, health: Health) -> None:
        super().__init__()
        self._options = client_options(settings.kafka)
        self._groups = groups_of(settings)
        self._metrics = metrics
        self._health = health
        self._admin: AIOKafkaAdminClient | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._partitions: dict[str, list[TopicPartition]] = {}
        self._refreshed_s = 0.0
        self._unreadable: set[str] = set()
        self._states: dict[str, GroupState] = {}
        self._unanswered_since_s: float | None = None
        self._error: Exception = TimeoutError("no answer")

    @property
    def answering(self) -> bool:
        """Whether the brokers answered the last check."""
        return self._unanswered_since_s is None

    async def on_stop(self) -> None:
        """Disconnect."""
        await self._disconnect()

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch(self) -> None:
        while not self.should_stop:
            await self.check()
            await self.sleep(PERIOD_S)

    async def check(self) -> None:
        """Check once; updates metrics and health."""
        self._error = TimeoutError("no answer")
        try:
            self._metrics.update(await asyncio.wait_for(self._answer(), ANSWER_S))
        except TimeoutError:
            await self._disconnect()
            self._unreachable(self._error)
        else:
            if self._unanswered_since_s is not None:
                logger.info("the brokers answer again")
            self._unanswered_since_s = None
            self._health.met(BROKER)

    async def _answer(self) -> Mapping[str, GroupState]:
        """Try until a broker answers: the one that was chosen may be down."""
        while True:
            try:
                return await self._read_groups()
            except (KafkaError, *_UNREACHABLE) as error:
                self._error = error
                await self._disconnect()
                await asyncio.sleep(RETRY_S)

    def _unreachable(self, error: Exception) -> None:
        now_s = time.monotonic()
        if self._unanswered_since_s is None:
            self._unanswered_since_s = now_s - PERIOD_S
            reason = error if str(error) else type(error).__name__
            logger.warning("no broker answers (%s); trying again every %g s", reason, PERIOD_S)
        self._health.unmet(BROKER, f"no answer for {now_s - self._unanswered_since_s:.0f} s")

    async def _read_groups(self) -> Mapping[str, GroupState]:
        admin, consumer = await self._connected()
        now_s = time.monotonic()
        if not self._partitions or now_s - self._refreshed_s > REFRESH_S:
            self._partitions = await self._topic_partitions(admin)
            self._refreshed_s = now_s
        for group, topics in self._groups.items():
            partitions = [tp for topic in topics for tp in self._partitions.get(topic, ())]
            try:
                self._states[group] = await self._group(admin, consumer, group, partitions)
            except _UNREACHABLE:
                raise
            except KafkaError as error:
                if not error.retriable:  # else its coordinator moves; the last state stays
                    self._states.pop(group, None)
                    self._log_unreadable(group, error)
            else:
                self._unreadable.discard(group)
        return self._states

    def _log_unreadable(self, group: str, error: KafkaError) -> None:
        if group not in self._unreadable:
            self._unreadable.add(group)
            logger.warning(
                "lag and members of group %s are not exported: %s; this user needs Describe on the "
                "group and on the topics that it reads",
                group,
                error if str(error) else type(error).__name__,
            )

    @staticmethod
    async def _group(
        admin: AIOKafkaAdminClient,
        consumer: AIOKafkaConsumer,
        group: str,
        partitions: Sequence[TopicPartition],
    ) -> GroupState:
        # First: without the right to describe the group, the offsets seem not to be committed.
        present = await members(admin, group)
        answer = await admin.list_consumer_group_offsets(group, partitions=list(partitions) or None)
        committed = {tp: at.offset for tp, at in answer.items() if at.offset >= 0}
        begins = await consumer.beginning_offsets(list(partitions))
        ends = await consumer.end_offsets(list(partitions))
        return GroupState(lag(committed, begins, ends), present)

    async def _topic_partitions(
        self, admin: AIOKafkaAdminClient
    ) -> dict[str, list[TopicPartition]]:
        wanted = {topic for topics in self._groups.values() for topic in topics}
        return {
            each["topic"]: [
                TopicPartition(each["topic"], p["partition"]) for p in each["partitions"]
            ]
            for each in await admin.describe_topics()
            if each["topic"] in wanted
        }

    async def _connected(self) -> tuple[AIOKafkaAdminClient, AIOKafkaConsumer]:
        if self._admin is None or self._consumer is None:
            self._admin = AIOKafkaAdminClient(**self._options)
            self._consumer = AIOKafkaConsumer(**self._options, enable_auto_commit=False)
            await self._admin.start()
            await self._consumer.start()
        return self._admin, self._consumer

    async def _disconnect(self) -> None:
        admin, consumer = self._admin, self._consumer
        self._admin = self._consumer = None
        for client in (admin and admin.close(), consumer and consumer.stop()):
            if client is not None:
                with suppress(KafkaError, OSError, TimeoutError):
                    await asyncio.wait_for(client, 1.0)


async def members(admin: AIOKafkaAdminClient, group: str) -> int:
    """Number of consumers that are in a group now.

    Raises:
        KafkaError: If this user has no right to describe the group.
    """
    (answer,) = await admin.describe_consumer_groups([group])
    described: Sequence[Any] = answer.groups[0]
    code, _, _, _, _, found, *_ = described
    if code:
        raise for_code(code)(group)
    return len(found)
