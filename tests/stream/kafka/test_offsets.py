"""A group is shown, and put elsewhere while nobody is in it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from models.settings import Settings
from stream.kafka.client import client_options
from stream.kafka.offsets import OffsetError, moment_ms, reset, show
from stream.transport import ChunkSink, Outgoing

pytestmark = pytest.mark.broker

NOON_MS = 1_704_110_400_000  # 2024-01-01, UTC
COUNT = 20


@pytest.fixture
async def filled(settings: Settings) -> Settings:
    """Twenty requests a minute apart on each partition, one a batch."""
    async with ChunkSink(client_options(settings.kafka)) as sink:
        for partition in range(settings.kafka.partitions):
            for i in range(COUNT):
                record = Outgoing(None, b"x", NOON_MS + 60_000 * i)
                await sink.send(settings.topics.requests, partition, [record])
    return settings


async def committed(settings: Settings) -> list[int | None]:
    found = await show(settings, settings.kafka.group)
    return [place.committed for _, place in sorted(found.places.items())]


@pytest.mark.parametrize(
    ("to", "at"),
    [
        ("earliest", 0),
        ("latest", COUNT),
        ("7", 7),
    ],
)
async def test_reset_to_a_place(filled: Settings, to: str, at: int) -> None:
    """Ends and offsets: all partitions go there, and the lag with them."""
    done = await reset(filled, filled.kafka.group, to)
    assert set(done.values()) == {(None, at)}
    found = await show(filled, filled.kafka.group)
    assert {(place.committed, place.lag) for place in found.places.values()} == {(at, COUNT - at)}
    assert not found.members


async def test_one_partition_and_only_to_look(filled: Settings) -> None:
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
        ({"to": "21"}, r"requests.*\[0\]@21: not there; it goes from 0 to 20"),
        ({"to": "sometime"}, "'sometime': write earliest, latest"),
        ({"to": "latest", "partition": 9}, "partition 9: no topic that .* reads has it"),
    ],
)
async def test_places_that_are_none(filled: Settings, arguments: dict[str, Any], said: str) -> None:
    """Refused by name, with nothing changed."""
    with pytest.raises(OffsetError, match=said):
        await reset(filled, filled.kafka.group, **arguments)
    assert await committed(filled) == [None] * 4


async def test_refused_while_somebody_is_in_the_group(filled: Settings) -> None:
    """A member would go on from where it is, so it has to stop first."""
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
def test_moments_that_are_none(text: str) -> None:
    """Never a traceback."""
    with pytest.raises(OffsetError):
        moment_ms(text)
