"""What only a broker with transactions can show."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from models.settings import Settings
from stream.brokers.kafka_cluster import KafkaCluster
from stream.kafka.client import client_options
from stream.kafka.reader import read_topic
from stream.messages import DeadLetter, RejectCode
from stream.transport import Chunk, ChunkSink, Outgoing, ReleasedError, TransactionalSink
from stream.transport.output.sink import NO_MEMBER
from stream.verify.account import Fate
from stream.verify.verifier import account
from tests.kafka.members import member
from tests.stream.intercept.test_worker import (  # noqa: F401
    publish,
    test_fails_open_recovers_and_refuses_bad_artifacts,
    test_filters_without_torch_and_stops_when_asked,
    until,
    worker,
)
from tests.stream.intercept.test_worker import tiny_settings as any_settings  # noqa: F401
from tests.tiny_artifact import Make

pytestmark = pytest.mark.kafka


@pytest.fixture
def tiny_settings(any_settings: Settings) -> Settings:  # noqa: F811
    """Settings for the tiny artifact, exactly once."""
    return any_settings.override({"worker.guarantee": "exactly-once"})


async def wait_exact(settings: Settings) -> None:
    """Until every request has one output and the group's offsets are at the end."""
    deadline = time.monotonic() + 60
    while not (found := await account(settings)).exact:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.3)


async def test_killed_workers_lose_and_repeat_nothing(
    tiny_settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """After kill -9 in the middle of the work a new worker finishes it: exactly once."""
    settings = tiny_settings.override(
        {"model.artifact": str(make_artifact()), "worker.max_chunk_records": 50}
    )
    for attempt in range(2):
        await publish(settings, 4000 * attempt, 4000)
        async with worker(settings, tmp_path, f"victim-{attempt}") as (child, port):
            await until(child, port, lambda sample: sample.requests >= 500)
            child.kill()
            await child.wait()
    async with worker(settings, tmp_path):
        await wait_exact(settings)
    assert (await account(settings)).requests == 8000


async def test_a_hung_worker_is_fenced_and_joins_again(
    tiny_settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """A worker that slept past its session repeats nothing when it wakes, and works on."""
    settings = tiny_settings.override(
        {"model.artifact": str(make_artifact()), "worker.max_chunk_records": 50}
    )
    await publish(settings, 0, 8000)
    async with worker(settings, tmp_path, "zombie") as (zombie, zombie_port):
        await until(zombie, zombie_port, lambda sample: sample.requests >= 500)
        os.kill(zombie.pid, signal.SIGSTOP)
        async with worker(settings, tmp_path, "heir") as (heir, heir_port):
            await until(heir, heir_port, lambda sample: sample.requests >= 2000)
            os.kill(zombie.pid, signal.SIGCONT)
            await wait_exact(settings)
            await heir.stop()
        await publish(settings, 8000, 4000)
        await wait_exact(settings)
        zombie.check()
    assert (await account(settings)).requests == 12_000


async def test_what_the_broker_does_not_take_becomes_a_dead_letter(
    tiny_settings: Settings, make_artifact: Make, tmp_path: Path, broker: KafkaCluster
) -> None:
    """A request too large for an output topic is cut, with its coordinates; the next ones pass."""
    small = tiny_settings.topics.model_copy(update={"passed": tiny_settings.topics.passed + "-s"})
    settings = tiny_settings.model_copy(update={"topics": small})
    admin = AIOKafkaAdminClient(**client_options(settings.kafka))
    await admin.start()
    limit = {"max.message.bytes": "20000"}
    await admin.create_topics([NewTopic(small.passed, 4, 1, topic_configs=limit)])
    await admin.close()
    settings = settings.override({"model.artifact": str(tmp_path / "none")})  # everything passes
    large = b'{"id":"large","imp":[{}],"x":"' + b"a" * 30_000 + b'"}'
    async with ChunkSink(client_options(settings.kafka)) as sink:
        fine = [Outgoing(b"k", b'{"id":"r%d","imp":[{}]}' % i, 1000 + i) for i in range(20)]
        records = [*fine[:10], Outgoing(b"key", large, 5000, [("h", b"v")]), *fine[10:]]
        records += [Outgoing(b"k" * 9000, fine[0].value, 6000, [("long", b"h" * 12_000)])]
        await sink.send(settings.topics.requests, 2, records)
    async with worker(settings, tmp_path):
        await wait_exact(settings)
    assert (await account(settings)).count(Fate.REJECTED) == 2
    letters = [r async for r in read_topic(settings.kafka, settings.topics.rejected)]
    letter = DeadLetter.from_headers(letters[0].headers)
    assert [letter.key for letter in letters] == [b"key", b"k" * 1024]
    assert ("h", b"v") in letters[0].headers
    assert "long" not in dict(letters[1].headers)
    assert letters[0].value == large[:1024]
    assert (letter.code, letter.truncated_from) == (RejectCode.TOO_LARGE, len(large))
    assert (letter.partition, letter.offset) == (2, 10)


async def test_nothing_of_an_aborted_chunk_is_read(
    settings: Settings, unique: Callable[[str], str]
) -> None:
    """A member that the group has expelled commits nothing; the next owner continues."""
    client, group = client_options(settings.kafka), unique("g")
    topics = (settings.topics.passed, settings.topics.blocked)
    source = (settings.topics.requests, 0)
    first, second = (TransactionalSink(client, group, topics, heartbeat_s=20) for _ in range(2))
    await first.start()
    await second.start()
    async with member(client, group, settings.topics.requests) as owner:
        await first.claim([source], owner)
        await first.write(chunk(*source, 0, 3), rows(topics, 0, 3))
    async with member(client, group, settings.topics.requests) as owner:
        await second.claim([source], owner)
        late = asyncio.create_task(first.write(chunk(*source, 3, 6), rows(topics, 3, 6)))
        await second.write(chunk(*source, 3, 5), rows(topics, 3, 5))
        await first.release([source])
        with pytest.raises(ReleasedError):
            await late
        assert await committed(settings, group, source) == 5
        await first.stop()
        await second.stop()
    for topic in topics:
        values = [record.value async for record in read_topic(settings.kafka, topic)]
        assert values == [b"%d" % i for i in range(5)]


async def test_a_sink_that_is_in_no_group_owns_nothing(
    settings: Settings, unique: Callable[[str], str]
) -> None:
    """Its offsets would be committed on nobody's behalf, and nobody would refuse them."""
    client, source = client_options(settings.kafka), (settings.topics.requests, 0)
    sink = TransactionalSink(client, unique("g"), (settings.topics.passed,), heartbeat_s=20)
    await sink.start()
    with pytest.raises(ReleasedError, match="owns nothing"):
        await sink.claim([source], NO_MEMBER)
    await sink.stop()


def chunk(topic: str, partition: int, start: int, end: int) -> Chunk:
    return Chunk(topic, partition, [], start, end, 0, 0.0)


def rows(topics: tuple[str, ...], start: int, end: int) -> dict[str, list[Outgoing]]:
    return {topic: [Outgoing(None, b"%d" % i, 1000) for i in range(start, end)] for topic in topics}


async def committed(settings: Settings, group: str, source: tuple[str, int]) -> int | None:
    reader = AIOKafkaConsumer(
        **client_options(settings.kafka), group_id=group, enable_auto_commit=False
    )
    await reader.start()
    try:
        offset: int | None = await reader.committed(TopicPartition(*source))
        return offset
    finally:
        await reader.stop()
