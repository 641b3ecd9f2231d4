"""Asking the brokers."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaError, NodeNotReadyError, TopicAuthorizationFailedError

from models.settings import Settings
from stream.kafka import client
from stream.kafka.client import ask, client_options

pytestmark = pytest.mark.broker


async def test_asks_again_while_a_node_is_away(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that comes at the third asking is an answer; a refusal is final."""
    monkeypatch.setattr(client, "PAUSES_S", (0.0, 0.0))
    options, asked = client_options(settings.kafka), 0

    async def question(away: int, error: type[KafkaError]) -> Any:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        if asked <= away:
            raise error
        return asked

    assert await ask(options, lambda _: question(2, NodeNotReadyError)) == 3
    asked = 0
    with pytest.raises(NodeNotReadyError):
        await ask(options, lambda _: question(3, NodeNotReadyError))
    asked = 0
    with pytest.raises(TopicAuthorizationFailedError):
        await ask(options, lambda _: question(1, TopicAuthorizationFailedError))
    assert asked == 1
