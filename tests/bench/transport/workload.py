"""Topics and requests of the benchmark: one backlog for all, fresh outputs for each round."""

from types import TracebackType
from typing import Final, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from models.kafka import client_options
from models.settings import Settings
from stream.topics import ensure_topics
from trainer.traffic.examples import batches
from trainer.traffic.publish import Publisher, evenly
from trainer.traffic.sender import BatchSender
from trainer.traffic.simulator import BLOCK, Simulator

SEED: Final = 1


async def publish_backlog(settings: Settings, requests: int) -> None:
    """Create the input topic and fill it with simulated requests, as fast as they are made."""
    await ensure_topics(settings.kafka, settings.topics)
    options = client_options(settings.kafka)
    async with BatchSender(options, settings.topics.requests) as sender:
        shipments = evenly(batches(Simulator(SEED), 0, requests, BLOCK), 0.0)
        await Publisher(sender).publish(shipments)


class Outputs:
    """Group and output topics that nobody has used before; an async context manager.

    The topics are there, with leaders, when it is entered, and gone when it is left.

    Args:
        settings: Those of the backlog.
        name: Of the round.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self._fresh = [f"{name}-{kind}" for kind in ("passed", "blocked", "rejected")]
        passed, blocked, rejected = self._fresh
        self.settings = settings.override(
            {
                "kafka.group": f"{name}-group",
                "topics.passed": passed,
                "topics.blocked": blocked,
                "topics.rejected": rejected,
            }
        )

    async def __aenter__(self) -> Self:
        """Create the topics, connect."""
        kafka = self.settings.kafka
        await ensure_topics(kafka, self.settings.topics)
        self._admin = AIOKafkaAdminClient(**client_options(kafka))
        await self._admin.start()
        self._consumer = AIOKafkaConsumer(**client_options(kafka))
        await self._consumer.start()
        inputs = await self._admin.describe_topics([self.settings.topics.requests])
        numbers = [partition["partition"] for partition in inputs[0]["partitions"]]
        self._inputs = [TopicPartition(self.settings.topics.requests, n) for n in numbers]
        self._outputs = [TopicPartition(topic, n) for topic in self._fresh for n in numbers]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Delete the topics, so that the disk does not fill."""
        await self._consumer.stop()
        await self._admin.delete_topics(self._fresh)
        await self._admin.close()

    async def written(self) -> int:
        """Records on the output topics, markers of transactions included."""
        ends = await self._consumer.end_offsets(self._outputs)
        return sum(ends.values())

    async def committed(self) -> dict[int, int]:
        """The group's committed offset of each input partition, where it has one."""
        group = self.settings.kafka.group
        found = await self._admin.list_consumer_group_offsets(group, partitions=self._inputs)
        return {tp.partition: at.offset for tp, at in found.items() if at.offset >= 0}
