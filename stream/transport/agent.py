"""What an agent writes: ``async for chunk in chunks(stream)``, or ``await relay(...)``."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Self

from faust.types import AppT, StreamT, TopicT

from stream.kafka.batches import RefusedBatch
from stream.transport.chunk import Chunk, Outputs, RecordsRefusedError
from stream.transport.driver import Consumer, Delivery
from stream.transport.incidents import Incidents
from stream.transport.lane import ReleasedError
from stream.transport.output.sink import Sink
from stream.transport.positions import Begin

Transform = Callable[[Sequence[Chunk]], Awaitable[Sequence[Outputs]]]
#: What to write instead of a chunk's outputs of which a topic does not take some.
InsteadOf = Callable[[Chunk, Outputs, RecordsRefusedError], Outputs]


def chunk_topic(app: AppT, *names: str) -> TopicT:
    """A topic of raw bytes, for ``@app.agent(chunk_topic(app, "requests"))``."""
    return app.topic(
        *names, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )


class _Fetches(AsyncIterator[list[Delivery]]):
    """What a stream delivers, fetch by fetch, as it is taken in hand."""

    def __init__(self, stream: StreamT[Any]) -> None:
        self._consumer: Consumer = stream.app.consumer
        self._values = aiter(stream)

    async def __anext__(self) -> list[Delivery]:
        deliveries: list[Delivery] = await anext(self._values)
        for delivery in deliveries:
            self._consumer.begin(delivery)
        return deliveries


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
        self._fetches = _Fetches(stream)
        self._ready: deque[Delivery] = deque()
        self._current: Delivery | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        if self._current is not None:
            done, self._current = self._current, None
            self._consumer.complete(done)
        while self._current is None:
            if not self._ready:
                self._ready.extend(await anext(self._fetches))
            self._current = self._take()
        return self._current.chunk

    def _take(self) -> Delivery | None:
        """The next chunk, unless it was revoked while it waited for its turn."""
        delivery = self._ready.popleft()
        if self._consumer.owns(delivery):
            return delivery
        self._consumer.abandon(delivery)
        return None


async def relay(
    stream: StreamT[Any], transform: Transform, sink: Sink, instead: InsteadOf | None = None
) -> None:
    """Transform all chunks and write what comes out, with the guarantee of `sink`.

    Chunks are transformed fetch by fetch, in the order of their partitions. Meanwhile those before
    are being written; how many that may be is bounded by the consumer, so a slow broker slows
    consumption. An error ends the relay, and with
    it the process; what was not committed then is delivered again::

        @app.agent(chunk_topic(app, "requests"))
        async def copy(stream):
            await relay(stream, transform, sink)

    Args:
        stream: The agent's stream; one relay per agent (``concurrency=1``).
        transform: From the chunks of a fetch, of different partitions, to the outputs by topic of
            each. It should give way (``asyncio.sleep(0)``) every few milliseconds, for writing goes
            on in the same thread.
        sink: Where outputs go; `attach` it to the app before the start.
        instead: Outputs to write instead when a topic does not take some: too large, or with a
            timestamp out of its range. Without it that is an error.
    """
    consumer: Consumer = stream.app.consumer
    async with asyncio.TaskGroup() as writes:
        async for deliveries in _Fetches(stream):
            made = await transform([delivery.chunk for delivery in deliveries])
            for delivery, outputs in zip(deliveries, made, strict=True):
                writes.create_task(_write(consumer, sink, delivery, outputs, instead))


async def _write(
    consumer: Consumer,
    sink: Sink,
    delivery: Delivery,
    outputs: Outputs,
    instead: InsteadOf | None,
) -> None:
    if consumer.owns(delivery):
        chunk = delivery.chunk
        try:
            await sink.write(chunk, outputs, partial(instead, chunk) if instead else None)
        except ReleasedError:
            pass
        else:
            consumer.complete(delivery, committed=sink.commits)
            return
    consumer.abandon(delivery)  # its next owner reads it again


def attach(
    app: AppT, sink: Sink | None, max_bytes: int, offsets_missing: Begin = "earliest"
) -> None:
    """Have the app's consumer claim and release `sink`; call it before the app starts.

    Args:
        app: An app on this transport.
        sink: What its relay writes to; None for an app that relays nothing.
        max_bytes: No more is fetched while chunks of this size together are in flight.
        offsets_missing: Where to begin a partition that was filtered before, but has no committed
            offset any more.
    """
    consumer: Consumer = app.consumer
    consumer.attach(sink, max_bytes, offsets_missing)


def report(app: AppT, incidents: Incidents) -> None:
    """Have `incidents` told of what befalls the topics that the app reads; before it starts."""
    consumer: Consumer = app.consumer
    consumer.report_to(incidents)


def bound(
    app: AppT,
    max_unpacked_bytes: int,
    refused: Callable[[RefusedBatch], None],
    *,
    keep: bool = False,
) -> None:
    """Have the app's consumer read batches within bounds of your own; before the app starts.

    Args:
        app: An app on this transport.
        max_unpacked_bytes: Most bytes that a batch may unpack to; a larger one is refused.
        refused: Told of every batch that is refused; without this, they are logged.
        keep: Whether chunks show a refused batch as a `RefusedBatch` in its place.
    """
    consumer: Consumer = app.consumer
    consumer.bound(max_unpacked_bytes, refused, keep=keep)


def consumer_lag(app: AppT) -> dict[tuple[str, int], int | None]:
    """Records per owned (topic, partition) that are not acknowledged yet; see `Consumer.lag`."""
    consumer: Consumer = app.consumer
    return {tuple(tp): behind for tp, behind in consumer.lag().items()}


def idle_partitions(app: AppT) -> dict[tuple[str, int], float]:
    """Seconds without progress per owned (topic, partition); see `Consumer.idle_s`."""
    consumer: Consumer = app.consumer
    return {tuple(tp): idle_s for tp, idle_s in consumer.idle_s().items()}


def joined(app: AppT) -> bool:
    """Whether the group has given this consumer its partitions, and none is being taken away."""
    return bool(app.rebalancing_count) and not app.rebalancing
