"""Shares the rates between workers: publishes summaries, follows the state of the fleet.

Each worker publishes summaries of its own requests to ``rate-summaries`` and follows
``rate-state``, where coordinators publish what is made of them: a worker reads one state per
scenario, however large the fleet is. The workers that own the first partitions of the requests are
the coordinators; they follow their slots of ``rate-summaries``, too. While one of the topics is
unavailable a worker controls every rate standalone, and reports that in log and metrics.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Final

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError
from faust.types import TP, AppT
from mode import Service

from models.settings import EVERYTHING, Settings
from stream.control.fleet_member import FleetMember, MemberState
from stream.control.slot_follower import SlotFollower
from stream.kafka.client import client_options, topic_partitions
from stream.kafka.topics import TopicError
from stream.messages import (
    FleetState,
    RateSummary,
    read_state,
    slot_of,
    write_state,
    write_summary,
)
from stream.messages.topic_follower import TopicFollower
from stream.metrics.worker import WorkerMetrics
from stream.policy import Policy

logger = logging.getLogger(__name__)

EXCHANGE_LIMIT_S: Final = 5.0
"""A broker that takes longer counts as unavailable."""
STOP_LIMIT_S: Final = 1.0
"""Longest wait for the broker at each step of stopping."""
LOAD_LIMIT_S: Final = 30.0
"""Longest that reading the states up to their end may take."""
RECONNECT_S: Final = 5.0
EXPIRY_S: Final = 5.0
"""Without a state for so long, beyond the time that the group takes to reassign the partitions of a
dead coordinator, a worker holds its rates standalone."""
POLL_RECORDS: Final = 2_000
SLOTS_S: Final = 0.2
"""Time between two looks at the assignment of a worker that coordinates nothing."""


class RateSharing(Service):  # type: ignore[misc]
    """Connects this worker's policy to those of the other workers of its fleet.

    Args:
        settings: Brokers and topics.
        policy: Controls the rates.
        metrics: Exports whether the rates are shared, and the versions of the fleet.
        version_of: The version that decides a partition of this worker; "" if none does.
    """

    def __init__(
        self,
        settings: Settings,
        policy: Policy,
        metrics: WorkerMetrics,
        version_of: Callable[[int], str] = lambda _: "",
    ) -> None:
        super().__init__()
        self._settings = settings
        self._metrics = metrics
        self._version_of = version_of
        self._connections = AsyncExitStack()
        self._received: list[FleetState] = []
        self.member = FleetMember(policy, EXPIRY_S + settings.kafka.session_timeout_s)
        self._slots = SlotFollower(settings, self.member.coordinator, metrics.refusals)

    def follow_assignment(self, app: AppT) -> None:
        """Own the partitions of the requests that the consumer group assigns to this app.

        Faust sends the whole assignment before anything of it is read, and a revocation after the
        batches in flight are written or abandoned.
        """
        app.on_partitions_assigned.connect(self._on_assigned)
        app.on_partitions_revoked.connect(self._on_revoked)

    async def _on_assigned(self, _app: AppT, assigned: set[TP], **_: object) -> None:
        self.member.assign(self._of_requests(assigned))

    async def _on_revoked(self, _app: AppT, revoked: set[TP], **_: object) -> None:
        self.member.revoke(self._of_requests(revoked))

    def _of_requests(self, partitions: set[TP]) -> frozenset[int]:
        requests = self._settings.topics.requests
        return frozenset(tp.partition for tp in partitions if tp.topic == requests)

    async def on_start(self) -> None:
        """Receive the states of the fleet, if the topic is available."""
        await self._connect()

    async def on_stop(self) -> None:
        """Publish the last summaries, so that the fleet knows of every decision."""
        if self.member.state is MemberState.SHARING:
            await self._or_standalone(self._publish(), STOP_LIMIT_S)
        self.member.stop()

    async def on_shutdown(self) -> None:
        """Disconnect; nothing uses the connections any more."""
        await self._connections.aclose()

    @Service.task  # type: ignore[untyped-decorator]
    async def _share(self) -> None:
        while not self.should_stop:
            if self.member.state is MemberState.SHARING:
                await self._or_standalone(self._exchange())
            else:
                await self.sleep(RECONNECT_S)
                if not self.should_stop:
                    await self._connect()

    async def _connect(self) -> None:
        """Connect and read the whole topic; if that fails the worker stays standalone."""
        self.member.connect()
        await self._or_standalone(self._load(), LOAD_LIMIT_S)
        if self.member.state is MemberState.SHARING:
            self._metrics.fleet(shared=True)
            logger.info("the rates are controlled together with the fleet")

    async def _load(self) -> None:
        settings, topics = self._settings, self._settings.topics
        found = await topic_partitions(settings.kafka, topics.requests, topics.rate_summaries)
        if not found[topics.rate_summaries]:
            raise TopicError(
                f"{topics.rate_summaries}: no such topic; `weir topics` creates the topics of Weir"
            )
        partitions = len(found[topics.requests])
        self.member.connected(partitions, min(partitions, len(found[topics.rate_summaries])))
        self._producer = AIOKafkaProducer(**client_options(settings.kafka), acks="all")
        self._connections.push_async_callback(_close, self._producer.stop)
        self._connections.push_async_callback(_close, self._slots.close)
        await self._producer.start()
        self._follower = TopicFollower(
            *(settings.kafka, topics.rate_state, self._collect, self._metrics.refusals),
            max_records=POLL_RECORDS,
        )
        self._connections.push_async_callback(_close, self._follower.__aexit__)
        await self._follower.__aenter__()
        while not await self._follower.at_end():
            await self._receive()
        self.member.loaded()

    async def _exchange(self) -> None:
        """Follow the fleet and publish, until the service stops or one of them fails."""
        async with asyncio.TaskGroup() as tasks:
            for step in (self._receive, self._coordinate, self._publish_when_due):
                tasks.create_task(self._repeat(step))

    async def _repeat(self, step: Callable[[], Awaitable[None]]) -> None:
        while not self.should_stop:
            await asyncio.wait_for(step(), EXCHANGE_LIMIT_S)

    def _collect(self, record: ConsumerRecord) -> None:
        self._received.append(read_state(record.key, record.value))

    async def _receive(self) -> None:
        """Use the states that have arrived; returns after half a second without any."""
        self._received.clear()
        await self._follower.poll()
        try:
            self.member.receive(self._received)
        except Exception as error:
            raise TopicError(f"the states there cannot be used: {error!r}") from error

    async def _coordinate(self) -> None:
        """Receive summaries of the slots that this worker coordinates, if there are any."""
        if not await self._slots.step():
            await self.sleep(SLOTS_S)

    async def _publish_when_due(self) -> None:
        await self.sleep(max(0.0, self.member.due_in_s()))
        await self._publish()
        self.member.expire()
        self._metrics.versions(self.member.versions())

    async def _publish(self) -> None:
        topics, sent = self._settings.topics, []
        for state in self.member.fleet_states():
            key, value = write_state(state)
            sent.append(await self._producer.send(topics.rate_state, value, key=key, partition=0))
        summaries = [self._with_versions(summary) for summary in self.member.updates()]
        for summary in summaries:
            key, value = write_summary(summary)
            slot = slot_of(summary.scenario, self.member.slot_count)
            sent.append(
                await self._producer.send(topics.rate_summaries, value, key=key, partition=slot)
            )
        answers = await asyncio.gather(*sent)
        for summary, answer in zip(
            summaries, answers[len(answers) - len(summaries) :], strict=True
        ):
            self.member.acknowledge(summary, answer.offset)

    def _with_versions(self, summary: RateSummary) -> RateSummary:
        if summary.scenario != EVERYTHING:
            return summary
        decided = Counter(self._version_of(partition) for partition in self.member.assignment)
        return replace(summary, versions={name: n for name, n in decided.items() if name})

    async def _or_standalone(self, work: Awaitable[None], limit_s: float | None = None) -> None:
        """Do a part of the exchange; if it fails, continue standalone."""
        try:
            await asyncio.wait_for(work, limit_s)
        except* (KafkaError, TopicError, TimeoutError) as group:
            await self._fail(_first(group))

    async def _fail(self, error: BaseException) -> None:
        if not self.member.fail():
            return
        reason = str(error) or "no answer in time"  # a TimeoutError has no text
        topics = self._settings.topics
        logger.error(
            "%s, %s: unavailable (%s); this worker controls the rates standalone and connects "
            "again every %g s",
            *(topics.rate_state, topics.rate_summaries, reason, RECONNECT_S),
        )
        self._metrics.fleet(shared=False)
        await self._connections.aclose()


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def _close(stop: Callable[[], Awaitable[None]]) -> None:
    """Disconnect without waiting for a broker that does not answer."""
    with suppress(KafkaError, TimeoutError):
        await asyncio.wait_for(stop(), STOP_LIMIT_S)
