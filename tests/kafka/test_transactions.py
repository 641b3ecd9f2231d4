"""One partition's transactional producer, and the group's committed offsets."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ProducerFenced

from stream.brokers.kafka_cluster import KafkaCluster
from stream.transport import Outgoing
from stream.transport.chunk import RecordsRefusedError
from stream.transport.incidents import Incidents
from stream.transport.output.output_topics import OutputTopics
from stream.transport.output.transactions import GroupOffsets, KafkaTransactions
from tests.stream.transport.apps import create

pytestmark = pytest.mark.kafka

Unique = Callable[[str], str]
OPTIONS = {"transaction_timeout_ms": 20_000, "request_timeout_ms": 15_000}


class Partition:
    """An input partition, an output topic, and producers that claim the one for the other."""

    def __init__(self, bootstrap: str, topic: str, group: str) -> None:
        self.client = {"bootstrap_servers": bootstrap}
        self.topic, self.group = topic, group
        self.input = TopicPartition(topic, 0)
        self.offsets = GroupOffsets(self.client, group)
        self.topics = OutputTopics(self.client, [topic])

    def producer(self) -> KafkaTransactions:
        incidents = Incidents()
        return KafkaTransactions(
            {**self.client, **OPTIONS}, self.group, self.input, self.offsets, self.topics, incidents
        )

    async def read(self) -> list[bytes]:
        """The committed values of the output, up to the end of what is stable."""
        consumer = AIOKafkaConsumer(**self.client, isolation_level="read_committed")
        async with consumer:
            consumer.assign([self.input])
            await consumer.seek_to_beginning(self.input)
            end = (await consumer.end_offsets([self.input]))[self.input]
            values: list[bytes] = []
            while await consumer.position(self.input) < end:
                found = await consumer.getmany(self.input, timeout_ms=100)
                values += [record.value for record in found.get(self.input, [])]
            return values


@asynccontextmanager
async def running(broker: KafkaCluster, unique: Unique) -> AsyncIterator[Partition]:
    topic = await create(broker.bootstrap, unique("out"))
    partition = Partition(broker.bootstrap, topic, unique("group"))
    await partition.topics.start()
    await partition.offsets.start()
    try:
        yield partition
    finally:
        await partition.offsets.stop()


def rows(*values: bytes) -> list[Outgoing]:
    return [Outgoing(b"k", value, 1_700_000_000_000) for value in values]


async def test_outputs_and_offset_are_committed_together(
    broker: KafkaCluster, unique: Unique
) -> None:
    """Both or none; who claims the partition next is told the offset."""
    async with running(broker, unique) as partition:
        first, second, third = (partition.producer() for _ in range(3))
        assert await first.claim() is None
        await first.begin()
        await first.write(first.build({partition.topic: rows(b"a", b"b")}), 7)
        assert await partition.offsets.committed(partition.input) is None
        await first.commit()
        assert await second.claim() == 7
        await second.begin()
        await second.write(second.build({partition.topic: rows(b"lost")}), 9)
        await second.close()  # aborts what is open
        assert await third.claim() == 7
        assert await partition.read() == [b"a", b"b"]
        await first.close()
        await third.close()


async def test_a_claim_fences_the_owner_before(broker: KafkaCluster, unique: Unique) -> None:
    """Its open transaction is aborted, and it cannot commit any more."""
    async with running(broker, unique) as partition:
        old, new = partition.producer(), partition.producer()
        await old.claim()
        await old.begin()
        await old.write(old.build({partition.topic: rows(b"old")}), 3)
        assert await new.claim() is None
        with pytest.raises(ProducerFenced):
            await old.commit()
        await new.begin()
        await new.write(new.build({partition.topic: rows(b"new")}), 5)
        await new.commit()
        assert await old.claim() == 5
        assert await partition.read() == [b"new"]
        await old.close()
        await new.close()


async def test_what_a_topic_does_not_take_is_named_before_anything_is_written(
    broker: KafkaCluster, unique: Unique
) -> None:
    """By the indices of the records; the transaction is never begun."""
    async with running(broker, unique) as partition:
        producer = partition.producer()
        await producer.claim()
        large = rows(b"a", b"x" * 2_000_000, b"b")
        with pytest.raises(RecordsRefusedError) as caught:
            producer.build({partition.topic: large})
        assert caught.value.indices == (1,)
        assert (caught.value.topic, caught.value.partition) == (partition.topic, 0)
        await producer.close()
        assert await partition.read() == []


async def test_what_is_not_claimed_cannot_be_used(broker: KafkaCluster, unique: Unique) -> None:
    """The error names the transactional id; closing it twice is harmless."""
    async with running(broker, unique) as partition:
        producer = partition.producer()
        with pytest.raises(RuntimeError, match=f"{partition.group}-{partition.topic}-0 is not"):
            await producer.begin()
        await producer.claim()
        await producer.close()
        await producer.close()
        with pytest.raises(RuntimeError, match="is not claimed"):
            producer.build({partition.topic: rows(b"a")})
