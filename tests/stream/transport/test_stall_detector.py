"""A partition that has work and makes no progress is told; one that goes on or rests is not."""

import asyncio
import logging
from collections.abc import Callable, Iterable

import pytest
from aiokafka.errors import KafkaConnectionError

from stream.brokers.embedded import EmbeddedBroker
from stream.transport import Chunk, ChunkSink, attach, idle_partitions, joined
from stream.transport.stall_detector import StallDetector
from tests.stream.transport.apps import add_agent, create, new_app, numbered, running, until, write

Unique = Callable[[str], str]


def test_progress_and_rest_are_no_stall() -> None:
    """Whatever moves, or has nothing to do, is never stalled, however long it is observed."""
    detector = StallDetector[int](limit_s=10.0)
    for second in range(100):
        assert not detector.observe(0, second // 9, float(second), working=True)
        assert not detector.observe(1, 7, float(second), working=False)
    assert detector.idle_s(1, 99.0) == 0.0


def test_a_stall_is_told_at_the_limit_and_again_after_each() -> None:
    """Once at the limit, then once per limit, and no more once it moves."""
    detector = StallDetector[int](limit_s=10.0)
    told = [second for second in range(35) if detector.observe(0, 7, float(second), working=True)]
    assert told == [10, 20, 30]
    assert detector.idle_s(0, 34.0) == 34.0
    assert not detector.observe(0, 8, 35.0, working=True)
    assert detector.idle_s(0, 36.0) == 1.0


def test_partitions_of_others_are_forgotten() -> None:
    """One that went away and came back starts anew."""
    detector = StallDetector[int](limit_s=10.0)
    detector.observe(0, 7, 0.0, working=True)
    detector.retain([1])
    assert not detector.observe(0, 7, 50.0, working=True)
    assert detector.idle_s(0, 50.0) == 0.0


@pytest.mark.broker
async def test_healthy_traffic_is_never_called_stuck(
    broker: EmbeddedBroker, unique: Unique, caplog: pytest.LogCaptureFixture
) -> None:
    """Long after Faust's own limit, with records arriving, not a line says otherwise."""
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
async def test_an_agent_that_hangs_is_told(
    broker: EmbeddedBroker, unique: Unique, caplog: pytest.LogCaptureFixture
) -> None:
    """The line names the partition and how far it got; the idle one beside it is not named."""
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
    told = {r.getMessage() for r in caplog.records if "no progress" in r.message}
    assert all(f"{topic}[1]" in line and "acknowledged up to offset 100" in line for line in told)


@pytest.mark.broker
async def test_brokers_that_go_while_partitions_are_claimed_are_waited_for(
    broker: EmbeddedBroker, unique: Unique, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process does not end; it reads once they answer again."""
    monkeypatch.setattr("stream.transport.consumer.CLAIM_RETRY_S", 0.05)
    topic = await create(broker.bootstrap, unique("in"))
    await write(broker.bootstrap, topic, 0, numbered(50))
    app = new_app(broker.bootstrap, unique("group"))
    seen: list[Chunk] = []

    async def body(chunk: Chunk) -> None:
        seen.append(chunk)

    class Away(ChunkSink):
        claims = 0

        async def claim(self, partitions: Iterable[tuple[str, int]]) -> None:
            self.claims += 1
            if self.claims <= 3:
                raise KafkaConnectionError(f"away: {list(partitions)}")

    sink = Away({"bootstrap_servers": broker.bootstrap})
    attach(app, sink, 1_000_000)
    add_agent(app, topic, body)
    async with running(app):
        await until(lambda: sum(map(len, seen)) == 50, 60)
    assert sink.claims >= 4
