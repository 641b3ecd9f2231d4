"""Lag of every partition, and whether the brokers answer, from any process."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from models.process.health import Health
from models.settings import Settings, TopicSettings
from stream.brokers.embedded import EmbeddedBroker
from stream.kafka.client import client_options
from stream.kafka.group_watch import BROKER, GroupMetrics, GroupWatch, lag
from stream.kafka.topics import ensure_topics
from stream.transport import ChunkSink, Outgoing

offsets = st.integers(0, 100)
TP = TopicPartition("t", 0)


@given(st.none() | offsets, offsets, offsets)
def test_lag_is_what_exists_and_is_not_committed(at: int | None, begin: int, end: int) -> None:
    """As many as a loop over the offsets counts; deleted records are no lag."""
    found = lag({} if at is None else {TP: at}, {TP: begin}, {TP: end})
    assert found == {("t", 0): len([o for o in range(begin, end) if at is None or o >= at])}


async def commit(settings: Settings, topic: str, offsets: dict[int, int]) -> None:
    consumer = AIOKafkaConsumer(
        **client_options(settings.kafka), group_id=settings.kafka.group, enable_auto_commit=False
    )
    async with consumer:
        partitions = {TopicPartition(topic, number): at for number, at in offsets.items()}
        consumer.assign(list(partitions))
        await consumer.commit({tp: OffsetAndMetadata(at, "") for tp, at in partitions.items()})


@pytest.mark.broker
async def test_lag_of_partitions_that_nobody_owns(settings: Settings) -> None:
    """The group has no members, and yet its lag is exported, partition by partition."""
    topic, group = settings.topics.requests, settings.kafka.group
    records = [Outgoing(None, b"x", 1000 + i) for i in range(50)]
    async with ChunkSink(client_options(settings.kafka)) as sink:
        for partition in range(4):
            for record in records:  # one a batch: the embedded broker counts batches
                await sink.send(topic, partition, [record])
    await commit(settings, topic, {0: 50, 1: 10})
    registry, health = CollectorRegistry(), Health("worker", [BROKER])
    watch = GroupWatch(settings, GroupMetrics(registry, 3), health)
    await watch.check()
    await watch.on_stop()
    waiting = [
        registry.get_sample_value(
            "weir_group_lag", {"group": group, "topic": topic, "partition": str(number)}
        )
        for number in range(4)
    ]
    assert waiting == [0, 40, 50, 50]
    feedback = {"group": f"{group}-feedback", "topic": settings.topics.passed, "partition": "0"}
    assert registry.get_sample_value("weir_group_lag", feedback) == 0
    assert registry.get_sample_value("weir_workers_expected") == 3
    assert health.unready() == {}


@pytest.mark.broker
async def test_brokers_that_do_not_answer_make_the_process_unready(
    unique: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is unready while they are stopped, and ready afterwards; lag stays exported."""
    monkeypatch.setattr("stream.kafka.group_watch.ANSWER_S", 2.0)
    with EmbeddedBroker(tmp_path / "broker.log") as broker:
        settings = Settings().override({"kafka.bootstrap": broker.bootstrap})
        await ensure_topics(settings.kafka, TopicSettings())
        registry, health = CollectorRegistry(), Health("worker", [BROKER])
        watch = GroupWatch(settings, GroupMetrics(registry, 1), health)
        await watch.check()
        assert health.unready() == {}
        assert watch.answering
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGSTOP)
        try:
            await watch.check()
            assert health.unready().keys() == {BROKER}
            assert not watch.answering
        finally:
            os.kill(broker.pid, signal.SIGCONT)
        deadline = asyncio.get_running_loop().time() + 60
        while health.unready() and asyncio.get_running_loop().time() < deadline:
            await watch.check()
        assert health.unready() == {}
        labels = {"group": "weir", "topic": "bid-requests", "partition": "0"}
        assert registry.get_sample_value("weir_group_lag", labels) == 0
        await watch.on_stop()
