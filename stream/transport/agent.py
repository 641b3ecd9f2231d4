"""What an agent writes: ``async for chunk in chunks(stream)``, or ``await relay(...)``."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Self

from faust.types import AppT, StreamT, TopicT

from stream.transport.chunk import Chunk, Outputs, RecordTooLargeError
from stream.transport.driver import ChunkMessage, Consumer
from stream.transport.lane import ReleasedError
from stream.transport.sink import Sink

Transform = Callable[[Chunk], Awaitable[Outputs]]
ShrinkChunk = Callable[[Chunk, Outputs, RecordTooLargeError], Outputs]


def chunk_topic(app: AppT, *names: str) -> TopicT:
    """A topic of raw bytes, for ``@app.agent(chunk_topic(app, "requests"))``."""
    return app.topic(
        *names, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )


class _Messages(AsyncIterator[ChunkMessage]):
    """The messages of a stream as they are taken in hand."""

    def __init__(self, stream: StreamT[Any]) -> None:
        self._stream = stream
        self._values = aiter(stream)

    async def __anext__(self) -> ChunkMessage:
        await anext(self._values)
        message: ChunkMessage = self._stream.current_event.message
        self._stream.app.consumer.begin(message)
        return message


class chunks(AsyncIterator[Chunk]):  # noqa: N801 - reads like the built-in iterators
    """The chunks of a stream, each acknowledged when the body of the loop has ended.

    A body that raises, breaks, returns or is cancelled leaves its chunk unacknowledged: it is
    never committed and is delivered again after a restart or rebalance. So whatever the body
    writes must be acknowledged by the broker before the body ends::

        @app.agent(chunk_topic(app, "requests"))
        async def copy(stream):
            async for chunk in chunks(stream):
                await sink.send("copies", chunk.partition, chunk.records)

    Run one such loop per agent (``concurrency=1``) to keep the order within a partition.
    """

    def __init__(self, stream: StreamT[Any]) -> None:
        self._consumer: Consumer = stream.app.consumer
        self._messages = _Messages(stream)
        self._message: ChunkMessage | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        if self._message is not None:
            message, self._message = self._message, None
            self._consumer.complete(message)
        self._message = await anext(self._messages)
        chunk: Chunk = self._message.value
        return chunk


async def relay(
    stream: StreamT[Any], transform: Transform, sink: Sink, shrink: ShrinkChunk | None = None
) -> None:
    """Transform every chunk and write what comes out, with the guarantee of `sink`.

    Chunks are transformed one after the other, in the order of their partitions. While one is
    transformed those before it are being written; how many that may be is bounded by the consumer,
    so a slow broker slows consumption. An error ends the relay, and with
    it the process; what was not committed then is delivered again::

        @app.agent(chunk_topic(app, "requests"))
        async def copy(stream):
            await relay(stream, transform, sink)

    Args:
        stream: The agent's stream; one relay per agent (``concurrency=1``).
        transform: From a chunk to its outputs by topic. It should give way (``asyncio.sleep(0)``)
            every few milliseconds, for writing goes on in the same thread.
        sink: Where outputs go; `attach` it to the app before the start.
        shrink: Outputs to write instead when a record does not fit a batch. Without it such a
            record is an error.
    """
    consumer: Consumer = stream.app.consumer
    async with asyncio.TaskGroup() as writes:
        async for message in _Messages(stream):
            outputs = await transform(message.value)
            writes.create_task(_write(consumer, sink, message, outputs, shrink))


async def _write(
    consumer: Consumer,
    sink: Sink,
    message: ChunkMessage,
    outputs: Outputs,
    shrink: ShrinkChunk | None,
) -> None:
    chunk: Chunk = message.value
    if consumer.owns(message):
        try:
            await sink.write(chunk, outputs, partial(shrink, chunk) if shrink else None)
        except ReleasedError:
            pass
        else:
            consumer.complete(message, committed=sink.commits)
            return
    consumer.abandon(message)  # its next owner reads it again


def attach(app: AppT, sink: Sink, max_bytes: int) -> None:
    """Have the app's consumer claim and release `sink`; call it before the app starts.

    Args:
        app: An app on this transport.
        sink: What its relay writes to.
        max_bytes: No more is fetched while chunks of this size together are in flight.
    """
    consumer: Consumer = app.consumer
    consumer.attach(sink, max_bytes)


def consumer_lag(app: AppT) -> dict[tuple[str, int], int | None]:
    """Records per owned (topic, partition) that are not acknowledged yet; see `Consumer.lag`."""
    consumer: Consumer = app.consumer
    return {tuple(tp): behind for tp, behind in consumer.lag().items()}
