"""A worker's transactional producer, the group's committed offsets, and who may change them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ProducerFenced

from stream.brokers.kafka_cluster import KafkaCluster
from stream.transport import Member, Outgoing
from stream.transport.chunk import RecordsRefusedError
from stream.transport.incidents import Incidents
from stream.transport.lanes.state import ExpelledError
from stream.transport.output.group_offsets import Committed, committed
from stream.transport.output.output_topics import OutputTopics
from stream.transport.output.producer import Producer
from stream.transport.output.transactions import Identity, KafkaTransactions
from tests.kafka.members import member
from tests.stream.transport.apps import create

pytestmark = pytest.mark.kafka

Unique = Callable[[str], str]
OPTIONS = {"transaction_timeout_ms": 60_000, "request_timeout_ms": 15_000, "retry_backoff_ms": 10}
GONE = Member("weir-gone", 1)


class Topic:
    """A topic that is input and output at once, its group, and producers of two partitions."""

    def __init__(self, bootstrap: str, topic: str, group: str) -> None:
        self.client = {"bootstrap_servers": bootstrap}
        self.topic, self.group = topic, group
        self.keys = [(topic, 0), (topic, 1)]
        self.topics = OutputTopics(self.client, [topic])

    def producer(self, owner: Member, name: str) -> KafkaTransactions:
        identity = Identity(self.group, owner, f"{self.group}-", name)
        options = {**self.client, **OPTIONS}
        return KafkaTransactions(options, identity, self.topics, Incidents())

    async def write(self, producer: KafkaTransactions, text: bytes, *offsets: int) -> None:
        """Begin a transaction, and write a record to each partition and its offset."""
        await producer.begin()
        batches = {key: producer.build(key, {self.topic: rows(text)}) for key in self.keys}
        ends = dict(zip(self.keys, offsets, strict=True))
        await producer.write(batches, ends, lambda _: False)

    async def offsets(self, *, stable: bool) -> Committed:
        producer = Producer(Incidents(), **self.client, enable_idempotence=True)
        await producer.start()
        try:
            return await committed(producer, self.group, self.keys, stable=stable)
        finally:
            await producer.disconnect()

    async def read(self, number: int) -> list[bytes]:
        """The committed values of a partition, up to the end of what is stable."""
        consumer = AIOKafkaConsumer(**self.client, isolation_level="read_committed")
        at = TopicPartition(self.topic, number)
        async with consumer:
            consumer.assign([at])
            await consumer.seek_to_beginning(at)
            end = (await consumer.end_offsets([at]))[at]
            values: list[bytes] = []
            while await consumer.position(at) < end:
                found = await consumer.getmany(at, timeout_ms=100)
                values += [record.value for record in found.get(at, [])]
            return values


@asynccontextmanager
async def running(broker: KafkaCluster, unique: Unique) -> AsyncIterator[Topic]:
    name = await create(broker.bootstrap, unique("out"))
    topic = Topic(broker.bootstrap, name, unique("group"))
    await topic.topics.start()
    yield topic


def rows(*values: bytes) -> list[Outgoing]:
    return [Outgoing(b"k", value, 1_700_000_000_000) for value in values]


async def test_outputs_and_offsets_are_committed_together(
    broker: KafkaCluster, unique: Unique
) -> None:
    """Of all partitions, or of none; an open transaction makes the offsets unstable."""
    async with (
        running(broker, unique) as topic,
        member(topic.client, topic.group, topic.topic) as m,
    ):
        first, second = topic.producer(m, "first"), topic.producer(m, "second")
        assert await first.claim(topic.keys) == {}
        await topic.write(first, b"a", 7, 3)
        assert (await topic.offsets(stable=True)).unstable == set(topic.keys)
        assert (await topic.offsets(stable=False)).offsets == {}
        await first.commit()
        assert await second.claim(topic.keys) == {topic.keys[0]: 7, topic.keys[1]: 3}
        found = await topic.offsets(stable=True)
        assert set(found.metadata.values()) == {f"{topic.group}-first"}
        await topic.write(second, b"lost", 9, 4)
        await second.close()  # ends what is open
        assert await first.claim(topic.keys) == {topic.keys[0]: 7, topic.keys[1]: 3}
        assert [await topic.read(0), await topic.read(1)] == [[b"a"], [b"a"]]
        await first.close()


async def test_a_new_owner_ends_the_transaction_of_a_dead_one(
    broker: KafkaCluster, unique: Unique
) -> None:
    """Long before its timeout: its id is in the metadata of the offset that it committed last."""
    async with (
        running(broker, unique) as topic,
        member(topic.client, topic.group, topic.topic) as m,
    ):
        dead, heir = topic.producer(m, "dead"), topic.producer(m, "heir")
        await dead.claim(topic.keys)
        await topic.write(dead, b"a", 1, 1)
        await dead.commit()
        await topic.write(dead, b"never", 2, 2)
        start = time.monotonic()
        assert await heir.claim(topic.keys) == {topic.keys[0]: 1, topic.keys[1]: 1}
        assert time.monotonic() - start < 10
        with pytest.raises(ProducerFenced):
            await dead.commit()
        await topic.write(heir, b"b", 2, 2)
        await heir.commit()
        assert await topic.read(0) == [b"a", b"b"]
        await dead.close()
        await heir.close()


async def test_a_claim_waits_for_a_commit_that_is_under_way(
    broker: KafkaCluster, unique: Unique
) -> None:
    """A first owner without a committed offset is not known; its transaction is waited for."""
    async with (
        running(broker, unique) as topic,
        member(topic.client, topic.group, topic.topic) as m,
    ):
        old, new = topic.producer(m, "old"), topic.producer(m, "new")
        await old.claim(topic.keys)
        await topic.write(old, b"a", 5, 6)
        claim = asyncio.create_task(new.claim(topic.keys))
        done, _ = await asyncio.wait([claim], timeout=1.5)
        assert not done
        await old.commit()
        assert await claim == {topic.keys[0]: 5, topic.keys[1]: 6}
        await old.close()
        await new.close()


@pytest.mark.parametrize("what", ["generation", "member"])
async def test_the_group_refuses_who_it_has_expelled(
    broker: KafkaCluster, unique: Unique, what: str
) -> None:
    """By the generation, or by the member; nothing of the transaction is ever read."""
    async with (
        running(broker, unique) as topic,
        member(topic.client, topic.group, topic.topic) as m,
    ):
        stale = m._replace(generation=m.generation - 1) if what == "generation" else GONE
        zombie, owner = topic.producer(stale, "zombie"), topic.producer(m, "owner")
        await zombie.claim(topic.keys)
        with pytest.raises(ExpelledError, match=r"IllegalGeneration|UnknownMember"):
            await topic.write(zombie, b"old", 4, 4)
        await zombie.close()
        assert await owner.claim(topic.keys) == {}
        await topic.write(owner, b"new", 5, 5)
        await owner.commit()
        assert await topic.read(0) == [b"new"]
        await owner.close()


async def test_what_a_topic_does_not_take_is_named_before_anything_is_written(
    broker: KafkaCluster, unique: Unique
) -> None:
    """By the indices of the records; the transaction is never begun."""
    async with running(broker, unique) as topic:
        producer = topic.producer(GONE, "any")
        await producer.claim(topic.keys)
        large = rows(b"a", b"x" * 2_000_000, b"b")
        with pytest.raises(RecordsRefusedError) as caught:
            producer.build(topic.keys[1], {topic.topic: large})
        assert caught.value.indices == (1,)
        assert (caught.value.topic, caught.value.partition) == (topic.topic, 1)
        await producer.close()
        assert await topic.read(1) == []


async def test_what_is_not_claimed_cannot_be_used(broker: KafkaCluster, unique: Unique) -> None:
    """The error names the transactional id; closing it twice is harmless."""
    async with running(broker, unique) as topic:
        producer = topic.producer(GONE, "any")
        with pytest.raises(RuntimeError, match=f"{topic.group}-any is not claimed"):
            await producer.begin()
        await producer.claim(topic.keys)
        await producer.close()
        await producer.close()
        with pytest.raises(RuntimeError, match="is not claimed"):
            producer.build(topic.keys[0], {topic.topic: rows(b"a")})
