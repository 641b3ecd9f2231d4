"""A flush of the changelog producer returns only when everything is written."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import faust
import pytest
from faust.exceptions import ProducerSendError
from faust.types import FutureMessage

from stream.brokers.embedded import EmbeddedBroker
from tests.stream.transport.apps import create, new_app

pytestmark = pytest.mark.broker


@pytest.fixture
async def app(
    broker: EmbeddedBroker, unique: Callable[[str], str]
) -> AsyncIterator[tuple[faust.App, str]]:
    topic = await create(broker.bootstrap, unique("out"))
    app = new_app(broker.bootstrap, unique("group"))
    await app.producer.start()
    yield app, topic
    await app.producer.stop()


async def test_flush_outlasts_a_slow_send(
    app: tuple[faust.App, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sends that each take longer than Faust would wait are still waited for."""
    running_app, topic = app
    sent: list[int] = []
    send = type(running_app.producer).send

    async def slow(self: Any, *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(0.15)
        result = await send(self, *args, **kwargs)
        sent.append(1)
        return result

    monkeypatch.setattr(type(running_app.producer), "send", slow)
    channel = running_app.topic(topic, value_serializer="raw")
    messages: list[FutureMessage] = [
        channel.send_soon(value=b"%d" % i, partition=0) for i in range(4)
    ]
    await running_app.producer.flush()
    assert len(sent) == 4
    assert all(message.done() for message in messages)


async def test_flush_raises_when_the_broker_refused_a_message(
    app: tuple[faust.App, str],
) -> None:
    """A message that was refused fails every flush from then on, so nothing is committed."""
    producer = app[0].producer
    refused = asyncio.get_running_loop().create_future()
    refused.set_exception(RuntimeError("not today"))
    producer._note(refused)
    with pytest.raises(ProducerSendError, match="not today"):
        await producer.flush()
