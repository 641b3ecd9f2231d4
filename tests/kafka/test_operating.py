"""Commands of an operator on Apache Kafka: more partitions, offsets of a group."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer

from models.settings import Settings, TopicSettings
from stream.brokers.kafka_cluster import KafkaCluster
from stream.kafka.client import client_options
from stream.kafka.offsets import reset, show
from stream.kafka.partitions import add_partitions
from stream.kafka.topics import TopicError
from tests.stream.kafka.test_offsets import (  # noqa: F401
    COUNT,
    committed,
    filled,
    test_one_partition_and_a_dry_run,
    test_refused_while_the_group_has_members,
    test_reset,
    test_targets_that_are_not_valid,
)
from tests.stream.kafka.test_topics import create, partition_counts

pytestmark = pytest.mark.kafka


@pytest.mark.parametrize(
    ("to", "at"),
    [("2024-01-01T12:05:00", 5), ("2024-01-01T13:05:00+01:00", 5), ("2099-01-01", COUNT)],
)
async def test_reset_to_a_time(filled: Settings, to: str, at: int) -> None:  # noqa: F811
    """The first record of that time or later; the end where there is none."""
    await reset(filled, filled.kafka.group, to)
    assert await committed(filled) == [at] * 4


async def test_partitions_are_added_to_all_topics_of_requests(settings: Settings) -> None:
    """Requests, outputs and examples have the same count afterwards, outcomes keep theirs."""
    topics = settings.topics
    names = {topics.requests, topics.passed, topics.blocked, topics.rejected, topics.examples}
    assert await add_partitions(settings.kafka, topics, 2) == dict.fromkeys(names, 6)
    await until_counts(settings, dict.fromkeys(names, 6) | {topics.outcomes: 4})


async def until_counts(settings: Settings, wanted: dict[str, int]) -> None:
    """Wait until the node that answers has these partition counts."""
    deadline = asyncio.get_running_loop().time() + 60
    found: dict[str, int] = {}
    while found != wanted:
        assert asyncio.get_running_loop().time() < deadline, found
        found = await partition_counts(settings.kafka.bootstrap, set(wanted))


async def test_adding_continues_where_it_failed(broker: KafkaCluster, settings: Settings) -> None:
    """An output that has its partitions already is left as it is; a missing topic is named."""
    topics = settings.topics
    grown = TopicSettings(**topics.model_dump() | {"passed": f"{topics.passed}-grown"})
    with pytest.raises(TopicError, match=f"{grown.passed}: no such topic"):
        await add_partitions(settings.kafka, grown, 1)
    await create(settings.kafka.bootstrap, grown.passed, 5)
    await until_counts(settings, {grown.passed: 5})
    counts = await add_partitions(settings.kafka, grown, 1)
    assert set(counts.values()) == {5}


async def test_reset_once_all_members_have_left(filled: Settings) -> None:  # noqa: F811
    """A member that stops leaves the group, and then a reset is possible."""
    group = filled.kafka.group
    consumer = AIOKafkaConsumer(
        filled.topics.requests,
        **client_options(filled.kafka),
        group_id=group,
        auto_offset_reset="earliest",
    )
    async with consumer:
        await asyncio.wait_for(consumer.getone(), 60)
        assert (await show(filled, group)).members == 1
    assert await reset(filled, group, "earliest")
    assert await committed(filled) == [0] * 4
