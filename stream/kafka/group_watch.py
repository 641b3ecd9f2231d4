"""What the brokers know of Weir's consumer groups: lag of every partition, members; do they answer?

A worker knows the lag of its own partitions only, and takes it along when it dies. So every process
asks, for the worker's group and for feedback's, where the groups have committed and where the
partitions end, and shows it. Whoever is left tells the lag of those that are gone. By whether the
brokers answer it also knows whether the process is ready.
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

logger = logging.getLogger(__name__)

EVERY_S: Final = 10.0
ANSWER_S: Final = 8.0
"""Brokers that take longer count as away."""
AGAIN_S: Final = 0.5
"""Between two askings until then."""
REFRESH_S: Final = 60.0
"""How often it is asked how many partitions the topics have."""
BROKER: Final = "broker"
"""The condition of `Health` that holds while the brokers answer."""

_AWAY: Final = (KafkaConnectionError, NodeNotReadyError, OSError, TimeoutError)


@dataclass(frozen=True, slots=True)
class GroupState:
    """A consumer group as the brokers know it.

    Attributes:
        lag: Records behind the committed offset, by topic and partition number.
        members: Consumers in the group.
    """

    lag: Mapping[tuple[str, int], int]
    members: int


def lag(
    committed: Mapping[TopicPartition, int],
    begins: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
) -> dict[tuple[str, int], int]:
    """Records that wait, per partition of ``ends``.

    Where nothing is committed yet, or what was committed is deleted, all that is there waits.
    """
    return {
        (tp.topic, tp.partition): max(0, end - max(committed.get(tp, 0), begins.get(tp, 0)))
        for tp, end in ends.items()
    }


def groups_of(settings: Settings) -> dict[str, tuple[str, ...]]:
    """The consumer groups of Weir and what they read."""
    topics, group = settings.topics, settings.kafka.group
    return {
        group: (topics.requests,),
        f"{group}-feedback": (topics.passed, topics.outcomes, topics.joins),
    }


class GroupMetrics(Collector):
    """Gauges of all groups, as of the last answer.

    Args:
        registry: Where they are registered.
        expected: Workers that should be ready.
    """

    def __init__(self, registry: CollectorRegistry, expected: int) -> None:
        self._states: Mapping[str, GroupState] = {}
        registry.register(self)
        Gauge(
            "weir_workers_expected", "Workers that should be ready at least.", registry=registry
        ).set(expected)

    def show(self, states: Mapping[str, GroupState]) -> None:
        """Show what the brokers know now; what they no longer tell disappears."""
        self._states = dict(states)

    def collect(self) -> Iterator[Metric]:
        """What Prometheus reads."""
        lags = GaugeMetricFamily(
            "weir_group_lag",
            "Records behind what a consumer group committed, of all its partitions.",
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
    """Asks the brokers every ten seconds.

    Args:
        settings: Brokers, topics, group.
        metrics: Where the answers are shown.
        health: Whose condition ``broker`` it keeps.
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
        self._refused: set[str] = set()
        self._states: dict[str, GroupState] = {}
        self._since_s: float | None = None
        self._error: Exception = TimeoutError("no answer")

    @property
    def answering(self) -> bool:
        """Whether the brokers answered the last time that they were asked."""
        return self._since_s is None

    async def on_stop(self) -> None:
        """Disconnect."""
        await self._disconnect()

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch(self) -> None:
        while not self.should_stop:
            await self.look()
            await self.sleep(EVERY_S)

    async def look(self) -> None:
        """Ask once, and show what came of it."""
        self._error = TimeoutError("no answer")
        try:
            self._metrics.show(await asyncio.wait_for(self._until_answered(), ANSWER_S))
        except TimeoutError:
            await self._disconnect()
            self._away(self._error)
        else:
            if self._since_s is not None:
                logger.info("the brokers answer again")
            self._since_s = None
            self._health.met(BROKER)

    async def _until_answered(self) -> Mapping[str, GroupState]:
        """Ask again while a node is asked that is down: another one may answer."""
        while True:
            try:
                return await self._ask()
            except (KafkaError, *_AWAY) as error:
                self._error = error
                await self._disconnect()
                await asyncio.sleep(AGAIN_S)

    def _away(self, error: Exception) -> None:
        now_s = time.monotonic()
        if self._since_s is None:
            self._since_s = now_s - EVERY_S
            reason = error if str(error) else type(error).__name__
            logger.warning("no broker answers (%s); asking again every %g s", reason, EVERY_S)
        self._health.unmet(BROKER, f"no answer for {now_s - self._since_s:.0f} s")

    async def _ask(self) -> Mapping[str, GroupState]:
        admin, consumer = await self._connected()
        now_s = time.monotonic()
        if not self._partitions or now_s - self._refreshed_s > REFRESH_S:
            self._partitions = await self._topics(admin)
            self._refreshed_s = now_s
        for group, topics in self._groups.items():
            partitions = [tp for topic in topics for tp in self._partitions.get(topic, ())]
            try:
                self._states[group] = await self._group(admin, consumer, group, partitions)
            except _AWAY:
                raise
            except KafkaError as error:
                if not error.retriable:  # else its coordinator moves; what was known stays
                    self._states.pop(group, None)
                    self._refuse(group, error)
            else:
                self._refused.discard(group)
        return self._states

    def _refuse(self, group: str, error: KafkaError) -> None:
        if group not in self._refused:
            self._refused.add(group)
            logger.warning(
                "lag and members of group %s are not shown: %s; this user needs Describe on the "
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
        # First, for an answer about offsets does not tell that they may not be known.
        present = await members(admin, group)
        told = await admin.list_consumer_group_offsets(group, partitions=list(partitions) or None)
        committed = {tp: at.offset for tp, at in told.items() if at.offset >= 0}
        begins = await consumer.beginning_offsets(list(partitions))
        ends = await consumer.end_offsets(list(partitions))
        return GroupState(lag(committed, begins, ends), present)

    async def _topics(self, admin: AIOKafkaAdminClient) -> dict[str, list[TopicPartition]]:
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
    """Consumers in a group now.

    Raises:
        KafkaError: If this user may not know.
    """
    (answer,) = await admin.describe_consumer_groups([group])
    described: Sequence[Any] = answer.groups[0]
    code, _, _, _, _, found, *_ = described
    if code:
        raise for_code(code)(group)
    return len(found)
