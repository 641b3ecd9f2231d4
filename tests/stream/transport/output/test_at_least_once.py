"""What the sink has acknowledged is in the topic, byte for byte and in order."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from stream.brokers.embedded import EmbeddedBroker
from stream.transport import ChunkSink, Outgoing, RecordTooLargeError
from tests.stream.transport.apps import until

pytestmark = pytest.mark.broker

Unique = Callable[[str], str]


@pytest.fixture
async def topic(broker: EmbeddedBroker, unique: Unique) -> str:
    name = unique("sink")
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, 2, 1)])
    finally:
        await admin.close()
    return name


@pytest.fixture
async def sink(broker: EmbeddedBroker) -> AsyncIterator[ChunkSink]:
    async with ChunkSink({"bootstrap_servers": broker.bootstrap}, max_batch_bytes=50_000) as sink:
        yield sink


async def content(bootstrap: str, topic: str, partition: int) -> list[Any]:
    """All records of a partition, up to the end that a fetch returns."""
    at = TopicPartition(topic, partition)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        consumer.assign([at])
        consumer.seek(at, 0)
        records: list[Any] = []
        while consumer.highwater(at) is None or len(records) < consumer.highwater(at):
            records += (await consumer.getmany(at, timeout_ms=100)).get(at, [])
        return records
    finally:
        await consumer.stop()


async def test_writes_content_unchanged_over_many_batches(
    broker: EmbeddedBroker, sink: ChunkSink, topic: str
) -> None:
    """Key, value, timestamp and headers arrive as given, in order, however many batches."""
    records = [
        Outgoing(
            key=None if i % 3 == 0 else b"k%d" % i,
            value=None if i % 7 == 0 and i % 3 else b"v%d" % i * (i % 500),
            timestamp=1_700_000_000_000 + i,
            headers=[("h", b"%d" % i), ("none", None)] if i % 2 else (),
        )
        for i in range(1000)
    ]
    await sink.send(topic, 1, records)
    found = await content(broker.bootstrap, topic, 1)
    assert [
        Outgoing(r.key, r.value, r.timestamp, list(r.headers) if r.headers else ()) for r in found
    ] == records
    assert await content(broker.bootstrap, topic, 0) == []


async def test_fetched_records_can_be_written_as_they_are(
    broker: EmbeddedBroker, sink: ChunkSink, topic: str
) -> None:
    """A record that was fetched is written to another partition without conversion."""
    await sink.send(topic, 0, [Outgoing(b"k", b"v", 42, [("h", b"x")])])
    fetched = await content(broker.bootstrap, topic, 0)
    await sink.send(topic, 1, fetched)
    (copy,) = await content(broker.bootstrap, topic, 1)
    assert (copy.key, copy.value, copy.timestamp, copy.headers) == (
        b"k",
        b"v",
        42,
        (("h", b"x"),),
    )


async def test_an_empty_send_writes_nothing(
    broker: EmbeddedBroker, sink: ChunkSink, topic: str
) -> None:
    """An empty sequence returns at once and writes nothing."""
    await sink.send(topic, 0, [])
    assert await content(broker.bootstrap, topic, 0) == []


async def test_a_record_too_large_is_named_and_nothing_is_written(
    broker: EmbeddedBroker, sink: ChunkSink, topic: str
) -> None:
    """The error says which record it was, and the records before it are not written either."""
    records = [Outgoing(b"k", b"x" * 20_000, 1) for _ in range(7)]
    records[5] = Outgoing(b"k", b"x" * 50_001, 1)
    with pytest.raises(RecordTooLargeError, match=r"records \[5\]: \d+ bytes") as caught:
        await sink.send(topic, 0, records)
    assert (caught.value.topic, caught.value.partition, caught.value.indices) == (topic, 0, (5,))
    assert await content(broker.bootstrap, topic, 0) == []


async def test_a_partition_that_does_not_exist_is_waited_for(
    sink: ChunkSink, topic: str, monkeypatch: Any, caplog: Any
) -> None:
    """A write to it waits, and the log names the topic and its number of partitions."""
    monkeypatch.setattr("stream.transport.output.slow_writes.PATIENCE_S", 0.1)
    late = asyncio.create_task(sink.send(topic, 99, [Outgoing(b"k", b"v", 1)]))
    await until(lambda: f"{topic}: writes have been blocked" in caplog.text)
    assert "partition 99 is written to" in caplog.text
    assert not late.done()
    late.cancel()


async def test_a_broker_that_goes_away_raises(tmp_path: Any) -> None:
    """What could not be acknowledged is raised to the caller, not dropped."""
    with EmbeddedBroker(tmp_path / "b.log") as broker:
        options = {"bootstrap_servers": broker.bootstrap, "request_timeout_ms": 1000}
        async with ChunkSink(options) as sink:
            admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
            await admin.start()
            await admin.create_topics([NewTopic("t", 1, 1)])
            await admin.close()
            await sink.send("t", 0, [Outgoing(b"k", b"v", 1)])
            broker.stop()
            with pytest.raises(KafkaError):
                await sink.send("t", 0, [Outgoing(b"k", b"v", 2)])


async def test_metadata_of_every_topic_written_to_is_refreshed(
    topic: str, sink: ChunkSink, unique: Unique
) -> None:
    """A topic that is created late does not push one that existed first out of the metadata."""
    late = unique("late")
    await sink.send(topic, 0, [Outgoing(b"k", b"v", 1)])
    await sink.send(late, 0, [Outgoing(b"k", b"v", 1)])
    assert sink._producer is not None
    client = sink._producer.client
    await client.force_metadata_update()
    assert {topic, late} <= client.cluster.topics()
