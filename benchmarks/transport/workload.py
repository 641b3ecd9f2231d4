"""Topics and requests of the benchmark: one backlog for all, fresh outputs for each run."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from benchmarks.transport.contender import ContenderError, Running
from models.settings import Settings
from stream.kafka.admin import Admin
from stream.kafka.client import client_options
from stream.kafka.topics import ensure_topics
from trainer.simulation.simulator import BLOCK, Simulator
from trainer.traffic.examples import batches
from trainer.traffic.publish import Publisher, evenly
from trainer.traffic.sender import BatchSender

SEED: Final = 1
STALLED_S: Final = 30.0
_POLL_S: Final = 0.1


class StalledError(ContenderError):
    """A contender made no progress for too long; the run does not count."""


class StallDetector:
    """Detects a contender that makes no progress.

    Args:
        running: The contender.
    """

    def __init__(self, running: Running) -> None:
        self._running = running
        self._done = 0
        self._moved_s = time.monotonic()

    def observe(self, done: int) -> None:
        """Record its progress.

        Raises:
            StalledError: If there was none for :data:`STALLED_S`.
        """
        now_s = time.monotonic()
        if done != self._done:
            self._done, self._moved_s = done, now_s
        elif now_s - self._moved_s > STALLED_S:
            raise StalledError(
                f"{self._running.name} stalled at {done:,} requests; see {self._running.log}"
            )


async def publish_backlog(settings: Settings, requests: int) -> None:
    """Create the input topic and fill it with simulated requests, as fast as they are made."""
    await ensure_topics(settings.kafka, settings.topics)
    options = client_options(settings.kafka)
    async with BatchSender(options, settings.topics.requests) as sender:
        shipments = evenly(batches(Simulator(SEED), 0, requests, BLOCK), 0.0)
        await Publisher(sender).publish(shipments)


class Outputs:
    """A new consumer group and new output topics; an async context manager.

    The topics exist, with leaders, when it is entered, and are deleted when it is left.

    Args:
        settings: Settings with the name of the input topic.
        name: Name of the run, and prefix of group and topics.
        own_input: The input topic is this run's own, and goes with the others.
    """

    def __init__(self, settings: Settings, name: str, *, own_input: bool = False) -> None:
        self._outputs = [f"{name}-{kind}" for kind in ("passed", "blocked", "rejected")]
        passed, blocked, rejected = self._outputs
        self.settings = settings.override(
            {
                "kafka.group": f"{name}-group",
                "topics.passed": passed,
                "topics.blocked": blocked,
                "topics.rejected": rejected,
            }
        )
        self._own = [*self._outputs, *([settings.topics.requests] if own_input else [])]

    async def __aenter__(self) -> Self:
        """Create the topics, connect."""
        kafka, source = self.settings.kafka, self.settings.topics.requests
        await ensure_topics(kafka, self.settings.topics)
        self._clients = AsyncExitStack()
        self._admin = await self._clients.enter_async_context(Admin(client_options(kafka)))
        self._consumer = await self._clients.enter_async_context(
            AIOKafkaConsumer(**client_options(kafka))
        )
        numbers = [each["partition"] for each in (await self._admin.partitions())[source]]
        self._input_partitions = [TopicPartition(source, n) for n in numbers]
        self._output_partitions = [TopicPartition(t, n) for t in self._outputs for n in numbers]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Delete the topics, so that the disk does not fill."""
        async with self._clients:
            await self._admin.client.delete_topics(self._own)

    async def configure(self, settings: Mapping[str, str]) -> None:
        """Set topic settings of all topics that are this run's own."""
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, topic, dict(settings)) for topic in self._own
        ]
        await self._admin.client.alter_configs(resources)

    async def done(self) -> int:
        """Number of processed requests, from the broker.

        Under exactly-once these are the committed offsets, because a transaction covers them and
        the outputs, and its markers count as records of a topic. Otherwise they are the records on
        the output topics.
        """
        if self.settings.worker.guarantee == "exactly-once":
            return sum((await self.committed()).values())
        ends = await self._consumer.end_offsets(self._output_partitions)
        return sum(ends.values())

    async def reached(self, requests: int) -> bool:
        """Whether that many requests have been processed."""
        return await self.done() >= requests

    async def committed(self) -> dict[int, int]:
        """The group's committed offset of each input partition, where it has one."""
        group = self.settings.kafka.group
        found = await self._admin.committed_offsets(group, self._input_partitions)
        return {tp.partition: offset for tp, offset in found.items()}


async def until(reached: Callable[[], Awaitable[bool]], running: Running) -> None:
    """Wait until `reached`, as long as the contender runs.

    Raises:
        ContenderError: If it ends before.
        StalledError: If it takes longer than :data:`STALLED_S`.
    """
    deadline_s = time.monotonic() + STALLED_S
    while not await reached():
        running.usage()
        if time.monotonic() > deadline_s:
            raise StalledError(f"{running.name} has not processed all requests; see {running.log}")
        await asyncio.sleep(_POLL_S)
