"""What an agent writes: ``async for chunk in chunks(stream)``."""

from collections.abc import AsyncIterator
from typing import Any, Self

from faust.types import AppT, StreamT, TopicT

from stream.transport.chunk import Chunk
from stream.transport.driver import ChunkMessage, Consumer


def chunk_topic(app: AppT, *names: str) -> TopicT:
    """A topic of raw bytes, for ``@app.agent(chunk_topic(app, "requests"))``."""
    return app.topic(
        *names, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )


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
        self._stream = stream
        self._values = aiter(stream)
        self._message: ChunkMessage | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        consumer: Consumer = self._stream.app.consumer
        if self._message is not None:
            message, self._message = self._message, None
            consumer.complete(message)
        chunk: Chunk = await anext(self._values)
        self._message = self._stream.current_event.message
        consumer.begin(self._message)
        return chunk


def consumer_lag(app: AppT) -> dict[tuple[str, int], int]:
    """Records per owned (topic, partition) that are not acknowledged yet; see `Consumer.lag`."""
    consumer: Consumer = app.consumer
    return {tuple(tp): behind for tp, behind in consumer.lag().items()}
