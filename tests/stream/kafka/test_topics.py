"""Topics are created where missing and checked where present."""

from collections.abc import Callable

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from models.settings import KafkaSettings, TopicSettings
from stream.brokers.embedded import EmbeddedBroker
from stream.kafka.topics import TopicError, ensure_topics

pytestmark = pytest.mark.broker

Unique = Callable[[str], str]


def topics_of(unique: Unique) -> TopicSettings:
    return TopicSettings(**{name: unique(name) for name in TopicSettings.model_fields})


async def partition_counts(bootstrap: str, names: set[str]) -> dict[str, int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        described = await admin.describe_topics(sorted(names))
        return {topic["topic"]: len(topic["partitions"]) for topic in described}
    finally:
        await admin.close()


async def create(bootstrap: str, name: str, partitions: int) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1)])
    finally:
        await admin.close()


async def test_creates_all_and_only_once(broker: EmbeddedBroker, unique: Unique) -> None:
    """The first call creates every topic with its partition count, the second none."""
    topics = topics_of(unique)
    kafka = KafkaSettings(bootstrap=broker.bootstrap, partitions=3)
    names = set(topics.model_dump().values())
    assert set(await ensure_topics(kafka, topics)) == names
    counts = await partition_counts(broker.bootstrap, names)
    single = (topics.models, topics.control, topics.consumption, topics.rate_state)
    assert counts == dict.fromkeys(names, 3) | dict.fromkeys(single, 1)
    assert await ensure_topics(kafka, topics) == []


async def test_outputs_follow_requests_that_exist(broker: EmbeddedBroker, unique: Unique) -> None:
    """Output topics get the partition count of the request topic, whatever the setting says."""
    topics = topics_of(unique)
    await create(broker.bootstrap, topics.requests, 5)
    created = await ensure_topics(KafkaSettings(bootstrap=broker.bootstrap, partitions=2), topics)
    assert topics.requests not in created
    counts = await partition_counts(broker.bootstrap, {topics.passed, topics.rejected})
    assert counts == {topics.passed: 5, topics.rejected: 5}


async def test_refuses_an_output_with_another_count(broker: EmbeddedBroker, unique: Unique) -> None:
    """An output topic with other partitions than the requests is an error with name and counts."""
    topics = topics_of(unique)
    await create(broker.bootstrap, topics.blocked, 2)
    with pytest.raises(TopicError, match=rf"{topics.blocked} has 2 partitions, .* has 4"):
        await ensure_topics(KafkaSettings(bootstrap=broker.bootstrap, partitions=4), topics)
