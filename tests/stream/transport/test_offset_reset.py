"""Where reading starts if the committed offsets are missing or out of range."""

from collections.abc import AsyncIterator, Callable, Iterable

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from faust.types import TP

from stream.brokers.embedded import EmbeddedBroker
from stream.transport.incidents import Incidents, OffsetsMissingError, TopicChangedError
from stream.transport.offset_reset import OffsetReset, initial_offsets, reset_out_of_range
from tests.stream.transport.apps import committed, create, numbered, write

pytestmark = pytest.mark.broker

Unique = Callable[[str], str]


@pytest.fixture
async def topic(broker: EmbeddedBroker, unique: Unique) -> str:
    """A topic of two partitions with 30 records each."""
    name = await create(broker.bootstrap, unique("in"))
    for partition in (0, 1):
        await write(broker.bootstrap, name, partition, numbered(30))
    return name


@pytest.fixture
async def consumer(
    broker: EmbeddedBroker, topic: str, unique: Unique
) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer of both partitions, in a group without offsets."""
    made = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap, group_id=unique("group"), enable_auto_commit=False
    )
    await made.start()
    made.assign([TopicPartition(topic, 0), TopicPartition(topic, 1)])
    yield made
    await made.stop()


async def second_only(partitions: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
    """Output topics have records of partition 1."""
    return {(topic, partition) for topic, partition in partitions if partition == 1}


@pytest.mark.parametrize(("reset", "at_first"), [("earliest", True), ("latest", False)])
async def test_only_partitions_that_were_filtered_before_follow_the_setting(
    consumer: AIOKafkaConsumer,
    broker: EmbeddedBroker,
    topic: str,
    caplog: pytest.LogCaptureFixture,
    reset: OffsetReset,
    at_first: bool,
) -> None:
    """The other starts at its first record; both offsets are committed before anything is read."""
    both = [TP(topic, 0), TP(topic, 1)]
    found = await initial_offsets(consumer, both, reset, second_only, Incidents())
    assert found[both[0]] == 0
    assert (found[both[1]] == 0) is at_first
    group = consumer._group_id
    assert await committed(broker.bootstrap, group, topic) == [0, found[both[1]]]
    assert f"worker.offsets_missing = {reset} starts at [1]@{found[both[1]]}" in caplog.text


async def test_a_first_start_is_no_loss(
    consumer: AIOKafkaConsumer, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Partitions without outputs start at their first record, whatever the setting is."""
    both = [TP(topic, 0), TP(topic, 1)]
    found = await initial_offsets(consumer, both, "refuse", None, Incidents())
    assert found == dict.fromkeys(both, 0)
    assert caplog.text == ""


async def test_missing_offsets_can_be_refused(consumer: AIOKafkaConsumer, topic: str) -> None:
    """The error names the partitions, and nothing is committed."""
    both = [TP(topic, 0), TP(topic, 1)]
    with pytest.raises(OffsetsMissingError, match=r"for partitions \[1\]"):
        await initial_offsets(consumer, both, "refuse", second_only, Incidents())
    assert await consumer.committed(TopicPartition(topic, 0)) is None


async def test_a_topic_that_ends_before_the_position_stops_the_consumer(
    consumer: AIOKafkaConsumer, topic: str
) -> None:
    """The error names the group and both offsets."""
    tp = TopicPartition(topic, 0)
    with pytest.raises(TopicChangedError, match=r"group g has committed offset 99, and the topic"):
        await reset_out_of_range(consumer, {tp: 99}, "g", Incidents())
