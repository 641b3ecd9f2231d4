"""Members of consumer groups, for tests of what is committed on their behalf."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer

from stream.transport import Member


@asynccontextmanager
async def member(client: Mapping[str, Any], group: str, topic: str) -> AsyncIterator[Member]:
    """Join a group that reads `topic`; other members of it join again, which takes seconds."""
    consumer = AIOKafkaConsumer(
        topic, **client, group_id=group, enable_auto_commit=False, heartbeat_interval_ms=500
    )
    async with consumer:
        yield present(consumer)


def present(consumer: AIOKafkaConsumer) -> Member:
    """The member that a consumer is, in the generation that it knows of."""
    coordinator = consumer._coordinator
    return Member(coordinator.member_id, coordinator.generation)
