"""A partition with work but no progress is reported; one with progress or without work is not."""

import asyncio
import logging
from collections.abc import Callable, Iterable

import pytest
from aiokafka.errors import KafkaConnectionError

from stream.brokers.embedded import EmbeddedBroker
from stream.transport import Chunk, ChunkSink, Member, attach, idle_partitions, joined
from stream.transport.stall_detector import StallDetector
from tests.stream.transport.apps import add_agent, create, new_app, numbered, running, until, write

Unique = Callable[[str], str]


def test_progress_or_no_work_is_no_stall() -> None:
    """However long it is observed."""
    detector = StallDetector[int](limit_s=10.0)
    for second in range(100):
        assert not detector.observe(0, second // 9, float(second), working=True)
        assert not detector.observe(1, 7, float(second), working=False)
    assert detector.idle_s(1, 99.0) == 0.0


def test_a_stall_is_reported_at_the_limit_and_after_every_further_one() -> None:
    """And not any more once there is progress."""
    detector = StallDetector[int](limit_s=10.0)
    reported = [
        second for second in range(35) if detector.observe(0, 7, float(second), working=True)
    ]
    assert reported == [10, 20, 30]
    assert detector.idle_s(0, 34.0) == 34.0
    assert not detector.observe(0, 8, 35.0, working=True)
    assert detector.idle_s(0, 36.0) == 1.0


def test_partitions_that_are_not_owned_are_forgotten() -> None:
    """One that was revoked and assigned again starts from zero."""
    detector = StallDetector[int](limit_s=10.0)
    detector.observe(0, 7, 0.0, working=True)
    detector.retain([1])
    assert not detector.observe(0, 7, 50.0, working=True)
    assert detector.idle_s(0, 50.0) == 0.0


@pytest.mark.broker
async def test_healthy_traffic_is_never_called_stuck(
    broker: EmbeddedBroker, unique: Unique, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is logged long after Faust's own limit while records arrive."""
    topic = await create(broker.bootstrap, unique("in"))
    app = new_app(broker.bootstrap, unique("group"))
    app.conf.broker_commit_livelock_soft_timeout = 0.5
    app.conf.stream_processing_timeout = 0.5
    seen = 0

    async def body(chunk: Chunk) -> None:
        nonlocal seen
        seen += len(chunk)
        await asyncio.sleep(0.05)  # so that records wait most of the time

    add_agent(app, topic, body)
    await write(broker.bootstrap, topic, 0, numbered(100))
    with caplog.at_level(logging.WARNING):
        assert not joined(app)
        async with running(app):
            await until(lambda: seen >= 100)
            assert joined(app)
            for _ in range(30):
                await write(broker.bootstrap, topic, 0, numbered(300))
            await until(lambda: seen >= 9100, 60)
    assert [r.message for r in caplog.records if "commit" in r.message.lower()] == []
    assert [r.message for r in caplog.records if "progress" in r.message] == []


@pytest.mark.broker
async def test_an_agent_that_hangs_is_reported(
    broker: EmbeddedBroker, unique: Unique, caplog: pytest.LogCaptureFixture
) -> None:
    """The line names the partition and its offsets; the partition without work is not named."""
    topic = await create(broker.bootstrap, unique("in"))
    await write(broker.bootstrap, topic, 1, numbered(250))
    app = new_app(broker.bootstrap, unique("group"))
    app.conf.broker_commit_livelock_soft_timeout = 0.5
    hanging = asyncio.Event()
    bodies = 0

    async def body(_chunk: Chunk) -> None:
        nonlocal bodies
        bodies += 1
        if bodies == 2:
            await hanging.wait()

    add_agent(app, topic, body)
    with caplog.at_level(logging.ERROR):
        async with running(app):
            await until(lambda: any("no progress" in r.message for r in caplog.records))
            assert idle_partitions(app)[topic, 1] >= 0.5
            assert idle_partitions(app)[topic, 0] == 0.0
            hanging.set()
    lines = {r.getMessage() for r in caplog.records if "no progress" in r.message}
    assert all(f"{topic}[1]" in line and "acknowledged up to offset 100" in line for line in lines)


@pytest.mark.broker
async def test_brokers_that_go_while_partitions_are_claimed_are_waited_for(
    broker: EmbeddedBroker, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process does not end, and reads once they can be reached again."""
    monkeypatch.setattr("stream.transport.consumer.CLAIM_RETRY_S", 0.05)
    topic = await create(broker.bootstrap, unique("in"))
    await write(broker.bootstrap, topic, 0, numbered(50))
    app = new_app(broker.bootstrap, unique("group"))
    seen: list[Chunk] = []

    async def body(chunk: Chunk) -> None:
        seen.append(chunk)

    class Away(ChunkSink):
        claims = 0

        async def claim(self, partitions: Iterable[tuple[str, int]], _member: Member) -> None:
            self.claims += 1
            if self.claims <= 3:
                raise KafkaConnectionError(f"away: {list(partitions)}")

    sink = Away({"bootstrap_servers": broker.bootstrap})
    attach(app, sink, 1_000_000)
    add_agent(app, topic, body)
    async with running(app):
        await until(lambda: sum(map(len, seen)) == 50, 60)
    assert sink.claims >= 4
