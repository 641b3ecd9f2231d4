"""Faust apps for tests of the transport, and what they have committed and written."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from stream.transport import Chunk, ChunkSink, Outgoing, app_options, chunk_topic, chunks

Body = Callable[[Chunk], Awaitable[None]]


class FilelessApp(faust.App):  # type: ignore[misc]
    """An app that leaves no data directory behind where the tests are run."""

    async def on_first_start(self) -> None:
        """Create no data directory."""


def new_app(bootstrap: str, group: str, *, records: int = 100) -> faust.App:
    return FilelessApp(
        group,
        **app_options(
            bootstrap=bootstrap,
            session_timeout_s=2,
            max_chunk_records=records,
            max_chunk_bytes=1_000_000,
            commit_interval_s=0.2,
        ),
    )


def add_agent(app: faust.App, topic: str, body: Body) -> None:
    async def agent(stream: Any) -> None:
        async for chunk in chunks(stream):
            await body(chunk)

    app.agent(chunk_topic(app, topic), name=f"{app.conf.id}-agent")(agent)


@asynccontextmanager
async def running(app: faust.App) -> AsyncIterator[faust.App]:
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait until `condition` holds; fail after the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.01)


async def create(bootstrap: str, topic: str, partitions: int = 2) -> str:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1)])
    finally:
        await admin.close()
    return topic


def numbered(count: int, prefix: str = "v") -> list[Outgoing]:
    return [
        Outgoing(
            b"k%d" % i if i % 5 else None, f"{prefix}{i}".encode(), 1000 + i, [("i", b"%d" % i)]
        )
        for i in range(count)
    ]


async def write(bootstrap: str, topic: str, partition: int, records: Sequence[Outgoing]) -> None:
    async with ChunkSink({"bootstrap_servers": bootstrap}) as sink:
        await sink.send(topic, partition, records)


async def committed(bootstrap: str, group: str, topic: str, partitions: int = 2) -> list[int]:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        offsets = []
        for partition in range(partitions):
            at = TopicPartition(topic, partition)
            consumer.assign([at])
            offsets.append(await consumer.committed(at) or 0)
        return offsets
    finally:
        await consumer.stop()
