"""The fleet's side of the policy: says on ``rate-state`` what this worker sees, and reads the rest.

About once a second a worker writes the states of its own partitions and takes in all that was
written, its own included. The topic is compacted by partition and scenario, so a partition's new
owner, or a worker that starts, finds what is due there and what rewards to expect. While the
topic cannot be used the worker holds every target by itself, and says so in log and metrics.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError
from mode import Service

from models.settings import Settings
from stream.kafka.client import client_options, topic_partitions
from stream.kafka.reader import TopicReader
from stream.kafka.topics import TopicError
from stream.messages import PartitionState, read_state, write_state
from stream.messages.parsing import RecordError
from stream.metrics.worker import WorkerMetrics
from stream.policy import Policy

logger = logging.getLogger(__name__)

EVERY_S: Final = 1.0
SILENT_S: Final = 5.0
"""A partition of which nothing was heard for so long has no requests, beyond the time that the
group takes to give those of a dead worker to another."""
ANSWER_S: Final = 5.0
"""A broker that takes longer counts as unavailable."""
STOP_S: Final = 1.0
"""Longest wait for the broker at each step of stopping."""
POLL_RECORDS: Final = 2_000
BEGIN_S: Final = 30.0
"""Longest wait for everything that was said before."""
AGAIN_S: Final = 5.0


class RateSharing(Service):  # type: ignore[misc]
    """Makes this worker's policy one of a fleet.

    Args:
        settings: Brokers and topics.
        policy: What holds the rates.
        metrics: Where it is shown whether the fleet's state is shared.
    """

    def __init__(self, settings: Settings, policy: Policy, metrics: WorkerMetrics) -> None:
        super().__init__()
        self._settings = settings
        self._policy = policy
        self._metrics = metrics
        self._own: frozenset[int] = frozenset()
        self._reported_s = time.monotonic()
        self._heard_s: dict[tuple[str, int], float] = {}
        self._shared = False

    def own(self, partitions: frozenset[int]) -> None:
        """These partitions of the requests are this worker's now."""
        if partitions != self._own and self._shared:
            self._policy.own(partitions, self._partitions)
        self._own = partitions

    async def on_start(self) -> None:
        """Read what the fleet knows, if the topic is there."""
        await self._open()

    async def on_stop(self) -> None:
        """Leave the last state for the next owners."""
        if self._shared:
            await self._or_alone(self._say(), STOP_S)
        if self._shared:
            await self._close()

    @Service.task  # type: ignore[untyped-decorator]
    async def _share(self) -> None:
        while not self.should_stop:
            if self._shared:
                await self._or_alone(self._exchange())
            else:
                await self.sleep(AGAIN_S)
                await self._open()

    async def _open(self) -> None:
        """Connect and read everything; without success the policy stays alone."""
        settings = self._settings
        refuse = self._metrics.refusals.refuse_batch
        self._reader = TopicReader(settings.kafka, settings.topics.rate_state, refuse)
        self._producer = AIOKafkaProducer(**client_options(settings.kafka), acks="all")
        self._shared = True
        await self._or_alone(self._begin(), BEGIN_S)
        if self._shared:
            self._metrics.fleet(shared=True)
            logger.info("the rate is held together with the fleet")

    async def _begin(self) -> None:
        requests = self._settings.topics.requests
        found = await topic_partitions(self._settings.kafka, requests)
        self._partitions = len(found[requests])
        await self._producer.start()
        await self._reader.__aenter__()
        while not all([await self._reader.at_end(tp) for tp in self._reader.partitions]):
            await self._hear()
        self._policy.own(self._own, self._partitions)

    async def _exchange(self) -> None:
        await self._hear()
        if time.monotonic() - self._reported_s >= EVERY_S:
            await self._say()
            self._forget_the_silent()

    async def _hear(self) -> None:
        """Take in what was said; returns after half a second without anything."""
        states = []
        fetched = await self._reader.fetch(self._reader.partitions, POLL_RECORDS)
        for records in fetched.values():
            for record in records:
                with self._metrics.refusals.guard(record):
                    states.append(self._read(record))
        now_s = time.monotonic()
        try:
            believed = self._policy.merge(states)
        except Exception as error:
            raise TopicError(f"the states there cannot be used: {error!r}") from error
        for state in believed:
            self._heard_s[state.scenario, state.partition] = now_s

    def _read(self, record: ConsumerRecord) -> PartitionState:
        """A state that a worker of this fleet may have written."""
        state = read_state(record.key, record.value)
        if state.partition >= self._partitions:
            requests = self._settings.topics.requests
            raise RecordError(
                f"rate-state: partition {state.partition}; {requests} has {self._partitions}"
            )
        return state

    async def _say(self) -> None:
        now_s = time.monotonic()
        states = self._policy.report(now_s - self._reported_s)
        self._reported_s = now_s
        sent = []
        for state in states:
            key, value = write_state(state)
            topic = self._settings.topics.rate_state
            sent.append(await self._producer.send(topic, value, key=key, partition=0))
        await asyncio.gather(*sent)

    def _forget_the_silent(self) -> None:
        silent_s = SILENT_S + self._settings.kafka.session_timeout_s
        oldest_s = time.monotonic() - silent_s
        silent = [at for at, when in self._heard_s.items() if when < oldest_s]
        for scenario, partition in silent:
            del self._heard_s[scenario, partition]
            self._policy.silence(scenario, partition)
        if silent:
            # takes back what somebody else claimed and does not look after
            self._policy.own(self._own, self._partitions)

    async def _or_alone(self, work: Awaitable[None], limit_s: float = ANSWER_S) -> None:
        """Do a step of the exchange; if it fails, hold the rate alone."""
        try:
            await asyncio.wait_for(work, limit_s)
        except (KafkaError, TopicError, TimeoutError) as error:
            logger.error(  # noqa: TRY400 - the message says it all
                "%s: not available (%s); this worker holds the rate by itself",
                self._settings.topics.rate_state,
                error or type(error).__name__,
            )
            self._shared = False
            self._heard_s.clear()
            self._metrics.fleet(shared=False)
            self._policy.alone()
            await self._close()

    async def _close(self) -> None:
        """Disconnect; a broker that is gone is not waited for."""
        with suppress(KafkaError, TimeoutError):
            await asyncio.wait_for(self._producer.stop(), STOP_S)
        with suppress(KafkaError, TimeoutError):
            await asyncio.wait_for(self._reader.__aexit__(), STOP_S)
