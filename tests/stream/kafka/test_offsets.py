"""Offsets of a group are shown, and reset while it has no members."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from models.settings import Settings
from stream.kafka.client import client_options
from stream.kafka.offsets import OffsetError, reset, show
from stream.transport import ChunkSink, Outgoing

pytestmark = pytest.mark.broker

NOON_MS = 1_704_110_400_000  # 2024-01-01, UTC
COUNT = 20


@pytest.fixture
async def filled(settings: Settings) -> Settings:
    """Settings with twenty requests on each partition, a minute apart and one in a batch."""
    async with ChunkSink(client_options(settings.kafka)) as sink:
        for partition in range(settings.kafka.partitions):
            for i in range(COUNT):
                record = Outgoing(None, b"x", NOON_MS + 60_000 * i)
                await sink.send(settings.topics.requests, partition, [record])
    return settings


async def committed(settings: Settings) -> list[int | None]:
    found = await show(settings, settings.kafka.group)
    return [offsets.committed for _, offsets in sorted(found.partitions.items())]


@pytest.mark.parametrize(
    ("to", "at"),
    [
        ("earliest", 0),
        ("latest", COUNT),
        ("7", 7),
    ],
)
async def test_reset(filled: Settings, to: str, at: int) -> None:
    """All partitions get the offset, and the lag that follows from it."""
    done = await reset(filled, filled.kafka.group, to)
    assert set(done.values()) == {(None, at)}
    found = await show(filled, filled.kafka.group)
    assert {(each.committed, each.lag) for each in found.partitions.values()} == {(at, COUNT - at)}
    assert not found.members


async def test_one_partition_and_a_dry_run(filled: Settings) -> None:
    """A dry run changes nothing; one partition leaves the others alone."""
    group = filled.kafka.group
    assert await reset(filled, group, "5", dry_run=True)
    assert await committed(filled) == [None] * 4
    (one,) = await reset(filled, group, "5", partition=2)
    assert one == TopicPartition(filled.topics.requests, 2)
    assert await committed(filled) == [None, None, 5, None]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"to": "21"}, r"requests.*\[0\]@21: no such offset; the partition has 0 to 20"),
        ({"to": "sometime"}, "'sometime': write earliest, latest"),
        ({"to": "latest", "partition": 9}, "partition 9: no topic that .* reads has it"),
    ],
)
async def test_targets_that_are_not_valid(
    filled: Settings, arguments: dict[str, Any], said: str
) -> None:
    """The error names them, and nothing is changed."""
    with pytest.raises(OffsetError, match=said):
        await reset(filled, filled.kafka.group, **arguments)
    assert await committed(filled) == [None] * 4


async def test_refused_while_the_group_has_members(filled: Settings) -> None:
    """A member would overwrite the offsets, so it has to stop first."""
    consumer = AIOKafkaConsumer(
        filled.topics.requests,
        **client_options(filled.kafka),
        group_id=filled.kafka.group,
        enable_auto_commit=False,
    )
    async with consumer:
        await asyncio.wait_for(_assigned(consumer), 60)
        with pytest.raises(OffsetError, match=r"members in group .*: 1, .*stop them"):
            await reset(filled, filled.kafka.group, "latest")
        assert await committed(filled) == [None] * 4


async def _assigned(consumer: AIOKafkaConsumer) -> None:
    while not consumer.assignment():
        await asyncio.sleep(0.05)


async def test_missing_topic_is_named(settings: Settings, unique: Callable[[str], str]) -> None:
    """A group whose topic is not there cannot be shown."""
    other = settings.override({"topics.requests": unique("absent")})
    with pytest.raises(OffsetError, match=r"absent.*no such topic"):
        await show(other, other.kafka.group)


@pytest.mark.parametrize("text", ["", "99999-01-01", "-5", "1e3"])
async def test_times_that_are_not_valid(filled: Settings, text: str) -> None:
    """The error says what else may be written."""
    with pytest.raises(OffsetError, match="write earliest, latest, an offset, or a time"):
        await reset(filled, filled.kafka.group, text)
