"""Administrative requests and their retries."""

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError, NodeNotReadyError, TopicAuthorizationFailedError

from models.settings import Settings
from stream.kafka import admin
from stream.kafka.admin import Admin, admin_request
from stream.kafka.client import client_options

pytestmark = pytest.mark.broker


async def test_repeats_a_request_while_the_error_is_retriable(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer to the third request is an answer; another error is raised at once."""
    monkeypatch.setattr(admin, "PAUSES_S", (0.0, 0.0))
    options, requests = client_options(settings.kafka), 0

    async def call(failures: int, error: type[KafkaError]) -> Any:
        nonlocal requests
        requests += 1
        await asyncio.sleep(0)
        if requests <= failures:
            raise error
        return requests

    assert await admin_request(options, lambda _: call(2, NodeNotReadyError)) == 3
    requests = 0
    with pytest.raises(NodeNotReadyError):
        await admin_request(options, lambda _: call(3, NodeNotReadyError))
    requests = 0
    with pytest.raises(TopicAuthorizationFailedError):
        await admin_request(options, lambda _: call(1, TopicAuthorizationFailedError))
    assert requests == 1


async def test_describes_topics_and_offsets(settings: Settings) -> None:
    """Every topic that exists has its partitions; a group that committed nothing has no offset."""
    topic = settings.topics.requests
    async with Admin(client_options(settings.kafka)) as client:
        partitions = (await client.partitions())[topic]
        assert sorted(each["partition"] for each in partitions) == [0, 1, 2, 3]
        tps = [TopicPartition(topic, number) for number in range(4)]
        assert await client.committed_offsets(settings.kafka.group, tps) == {}
