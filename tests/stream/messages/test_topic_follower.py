"""Following a topic from its beginning: every record is handled or refused, none ends it."""

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from prometheus_client import CollectorRegistry

from models.settings import Settings
from stream.kafka.client import client_options
from stream.kafka.topics import TopicError
from stream.messages.refusals import Refusals
from stream.messages.topic_follower import TopicFollower

pytestmark = pytest.mark.broker
COUNT = 120


async def produce(settings: Settings, values: list[bytes]) -> None:
    async with AIOKafkaProducer(**client_options(settings.kafka)) as producer:
        for value in values:
            await producer.send(settings.topics.control, value, key=b"k", partition=0)
        await producer.flush()


def refused(registry: CollectorRegistry, topic: str) -> float | None:
    return registry.get_sample_value("weir_refused_messages_total", {"topic": topic})


async def test_a_record_that_cannot_be_handled_is_refused_and_the_others_are_handled(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the handler raises is logged with the coordinates and the consequence."""
    topic, registry, handled = settings.topics.control, CollectorRegistry(), list[int]()

    def handle(record: ConsumerRecord) -> None:
        handled.append(int(record.value))

    await produce(settings, [b"%d" % n if n != 70 else b"seventy" for n in range(COUNT)])
    follower = TopicFollower(
        *(settings.kafka, topic, handle, Refusals(registry)), consequence="the last one stays"
    )
    async with follower:
        assert await follower.poll_to_end()
        assert handled == [n for n in range(COUNT) if n != 70]
        assert refused(registry, topic) == 1.0
        assert f"{topic}[0]@70: the last one stays: invalid literal" in caplog.text
        await produce(settings, [b"1000"])
        while handled[-1] != 1000:
            await follower.poll()


async def test_polling_to_the_end_stops_at_its_limit_after_a_poll(settings: Settings) -> None:
    """Without time left one poll is made; the rest is still there for the next ones."""
    handled = list[bytes]()

    def handle(record: ConsumerRecord) -> None:
        handled.append(record.value)

    await produce(settings, [b"%d" % n for n in range(COUNT)])
    follower = TopicFollower(
        *(settings.kafka, settings.topics.control, handle, Refusals(CollectorRegistry())),
        max_records=10,
    )
    async with follower:
        assert not await follower.poll_to_end(limit_s=0.0)
        assert len(handled) <= 10
        assert await follower.poll_to_end()
    assert len(handled) == COUNT


async def test_a_topic_that_does_not_exist_is_an_error_and_can_be_left(settings: Settings) -> None:
    """Connecting raises; disconnecting afterwards is harmless."""
    refusals = Refusals(CollectorRegistry())
    follower = TopicFollower(settings.kafka, "absent", lambda _record: None, refusals)
    with pytest.raises(TopicError, match="no such topic"):
        await follower.__aenter__()
    await follower.__aexit__(None, None, None)
