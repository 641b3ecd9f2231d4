"""Shares the state of the rates between workers: publishes to ``rate-state``, and follows it.

About once a second a worker publishes the states of its own partitions and merges all that were
published, its own included. The topic is compacted by partition and scenario, so that the next
owner of a partition, or a worker that starts, finds its debt and the rewards to expect. While the
topic is unavailable the worker controls every rate standalone, and reports that in log and metrics.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import Final

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError
from faust.types import TP, AppT
from mode import Service

from models.settings import Settings
from stream.control.fleet_member import FleetMember, MemberState
from stream.kafka.client import client_options, topic_partitions
from stream.kafka.topics import TopicError
from stream.messages import PartitionState, read_state, write_state
from stream.messages.topic_follower import TopicFollower
from stream.metrics.worker import WorkerMetrics
from stream.policy import Policy

logger = logging.getLogger(__name__)

STALE_S: Final = 5.0
"""A partition without an update for so long has no requests, beyond the time that the group takes
to reassign the partitions of a dead worker."""
EXCHANGE_LIMIT_S: Final = 5.0
"""A broker that takes longer counts as unavailable."""
STOP_LIMIT_S: Final = 1.0
"""Longest wait for the broker at each step of stopping."""
LOAD_LIMIT_S: Final = 30.0
"""Longest that reading the topic up to its end may take."""
RECONNECT_S: Final = 5.0
POLL_RECORDS: Final = 2_000


class RateSharing(Service):  # type: ignore[misc]
    """Connects this worker's policy to those of the other workers of its fleet.

    Args:
        settings: Brokers and topics.
        policy: Controls the rates.
        metrics: Exports whether the state is shared, and the versions of the fleet.
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
        self._received: list[PartitionState] = []
        self.member = FleetMember(policy, STALE_S + settings.kafka.session_timeout_s)

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
        """Receive the states of all partitions, if the topic is available."""
        await self._connect()

    async def on_stop(self) -> None:
        """Publish the final states, for the next owners of the partitions."""
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
                await self._or_standalone(self._exchange(), EXCHANGE_LIMIT_S)
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
        settings, requests = self._settings, self._settings.topics.requests
        found = await topic_partitions(settings.kafka, requests)
        self.member.connected(len(found[requests]))
        self._producer = AIOKafkaProducer(**client_options(settings.kafka), acks="all")
        self._connections.push_async_callback(_close, self._producer.stop)
        await self._producer.start()
        self._follower = TopicFollower(
            *(settings.kafka, settings.topics.rate_state, self._collect, self._metrics.refusals),
            max_records=POLL_RECORDS,
        )
        self._connections.push_async_callback(_close, self._follower.__aexit__)
        await self._follower.__aenter__()
        while not await self._follower.at_end():
            await self._receive()
        self.member.loaded()

    async def _exchange(self) -> None:
        await self._receive()
        if self.member.update_due():
            await self._publish()
            self.member.expire()
            self._metrics.versions(self.member.versions())

    def _collect(self, record: ConsumerRecord) -> None:
        self._received.append(self.member.check(read_state(record.key, record.value)))

    async def _receive(self) -> None:
        """Merge the updates that have arrived; returns after half a second without any."""
        self._received.clear()
        await self._follower.poll()
        try:
            self.member.receive(self._received)
        except Exception as error:
            raise TopicError(f"the states there cannot be used: {error!r}") from error

    async def _publish(self) -> None:
        topic, sent = self._settings.topics.rate_state, []
        for state in self.member.updates():
            version = self._version_of(state.partition)
            key, value = write_state(replace(state, model=version))
            sent.append(await self._producer.send(topic, value, key=key, partition=0))
        await asyncio.gather(*sent)

    async def _or_standalone(self, work: Awaitable[None], limit_s: float) -> None:
        """Do a step of the exchange; if it fails, continue standalone."""
        try:
            await asyncio.wait_for(work, limit_s)
        except (KafkaError, TopicError, TimeoutError) as error:
            if not self.member.fail():
                return
            reason = str(error) or "no answer in time"  # a TimeoutError has no text
            logger.error(  # noqa: TRY400 - the message has all of it
                "%s: unavailable (%s); this worker controls the rates standalone and connects "
                "again every %g s",
                *(self._settings.topics.rate_state, reason, RECONNECT_S),
            )
            self._metrics.fleet(shared=False)
            await self._connections.aclose()


async def _close(stop: Callable[[], Awaitable[None]]) -> None:
    """Disconnect without waiting for a broker that does not answer."""
    with suppress(KafkaError, TimeoutError):
        await asyncio.wait_for(stop(), STOP_LIMIT_S)
