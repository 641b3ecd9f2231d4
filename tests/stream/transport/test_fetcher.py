"""The service that fetches: positions, ends, and the epochs of its seeks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from faust.types import TP

from stream.brokers.embedded import EmbeddedBroker
from stream.transport import Chunk
from stream.transport.fetcher import FetchService
from tests.stream.transport.apps import (
    add_agent,
    committed,
    create,
    new_app,
    numbered,
    running,
    until,
    write,
)

pytestmark = pytest.mark.broker

Unique = Callable[[str], str]
COUNT = 250


@asynccontextmanager
async def consumed(broker: EmbeddedBroker, topic: str, group: str) -> AsyncIterator[FetchService]:
    """The service of an app that has read and committed partition 0, and goes on."""
    chunks: list[Chunk] = []

    async def collect(chunk: Chunk) -> None:
        chunks.append(chunk)

    app = new_app(broker.bootstrap, group)
    add_agent(app, topic, collect)
    async with running(app):
        await until(lambda: sum(map(len, chunks)) == COUNT)
        deadline = asyncio.get_running_loop().time() + 20
        while (await committed(broker.bootstrap, group, topic, 1)) != [COUNT]:
            assert asyncio.get_running_loop().time() < deadline
        service = app.consumer._thread
        assert isinstance(service, FetchService)
        yield service


async def test_it_knows_where_it_is_and_where_a_partition_ends(
    broker: EmbeddedBroker, unique: Unique
) -> None:
    """The end is that of the fetches: the embedded broker's list of offsets is too low."""
    topic = await create(broker.bootstrap, unique("in"))
    await write(broker.bootstrap, topic, 0, numbered(COUNT))
    full, empty, strange = TP(topic, 0), TP(topic, 1), TP(topic, 7)
    async with consumed(broker, topic, unique("group")) as service:
        assert service.position_of(full) == COUNT
        assert service.end_of(full) == COUNT
        assert service.position_of(strange) is None
        assert service.end_of(strange) is None
        assert await service._highwaters([full, empty]) == {full: COUNT, empty: 0}


async def test_a_seek_begins_an_epoch_at_the_committed_offsets(
    broker: EmbeddedBroker, unique: Unique
) -> None:
    """What was fetched before has an older one, so it is never taken for what comes after."""
    topic = await create(broker.bootstrap, unique("in"), 1)
    await write(broker.bootstrap, topic, 0, numbered(COUNT))
    async with consumed(broker, topic, unique("group")) as service:
        first = await service.seek_to_committed()
        second = await service.seek_to_committed()
        assert first.positions == second.positions == {TP(topic, 0): COUNT}
        assert second.epoch == first.epoch + 1


async def test_nothing_is_fetched_while_the_flow_is_stopped(
    broker: EmbeddedBroker, unique: Unique
) -> None:
    """During a rebalance nobody would take it; the call returns at once."""
    topic = await create(broker.bootstrap, unique("in"), 1)
    await write(broker.bootstrap, topic, 0, numbered(COUNT))
    async with consumed(broker, topic, unique("group")) as service:
        service.consumer.stop_flow()
        fetching = service._fetch_records(service._ensure_consumer(), {TP(topic, 0)}, 600.0)
        assert await asyncio.wait_for(fetching, 20) == {}
        service.consumer.resume_flow()
