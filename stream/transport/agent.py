"""What an agent uses: ``async for chunk in chunks(stream)``, or ``await relay(...)``."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Self

from faust.types import AppT, StreamT, TopicT

from stream.kafka.batches import RefusedBatch
from stream.trace.tracer import ChunkTrace, Tracer
from stream.transport.chunk import Chunk, Outputs, RecordsRefusedError
from stream.transport.concurrency import turns
from stream.transport.consumer import Consumer
from stream.transport.delivery import Delivery
from stream.transport.incidents import Incidents
from stream.transport.lanes.state import ReleasedError
from stream.transport.offset_reset import OffsetReset
from stream.transport.output.sink import Sink

Transform = Callable[[Sequence[Chunk]], Awaitable[Sequence[Outputs]]]
#: Returns what to write instead of a chunk's outputs that a topic has refused in part.
InsteadOf = Callable[[Chunk, Outputs, RecordsRefusedError], Outputs]


def chunk_topic(app: AppT, *names: str) -> TopicT:
    """A topic of raw bytes, for ``@app.agent(chunk_topic(app, "requests"))``."""
    return app.topic(
        *names, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw"
    )


class _Fetches(AsyncIterator[list[Delivery]]):
    """The deliveries of a stream, fetch by fetch; each is reported to the consumer as processed."""

    def __init__(self, stream: StreamT[Any]) -> None:
        self._consumer: Consumer = stream.app.consumer
        self._values = aiter(stream)

    async def __anext__(self) -> list[Delivery]:
        deliveries: list[Delivery] = await anext(self._values)
        self._consumer.begin(deliveries)
        return deliveries


class chunks(AsyncIterator[Chunk]):  # noqa: N801 - reads like the built-in iterators
    """The chunks of a stream, each acknowledged when the body of the loop has ended.

    A body that raises, breaks, returns or is cancelled leaves its chunk unacknowledged: it is not
    committed and is delivered again after a restart or rebalance. So the broker must have
    acknowledged everything that the body writes before the body ends::

        @app.agent(chunk_topic(app, "requests"))
        async def copy(stream):
            async for chunk in chunks(stream):
                await sink.send("copies", chunk.partition, chunk.records)

    Run one such loop per agent (``concurrency=1``), to keep the order within a partition.
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
            self._current = self._next_owned()
        return self._current.chunk

    def _next_owned(self) -> Delivery | None:
        """The next chunk, None if its partition was revoked meanwhile."""
        delivery = self._ready.popleft()
        if self._consumer.owns(delivery):
            return delivery
        self._consumer.abandon(delivery)
        return None


async def relay(
    stream: StreamT[Any], transform: Transform, sink: Sink, instead: InsteadOf | None = None
) -> None:
    """Transform all chunks and write the outputs, with the guarantee of `sink`.

    Chunks are transformed fetch by fetch, in order within a partition, while earlier ones are being
    written. The consumer limits the chunks in flight, so a slow broker slows consumption. An error
    ends the relay and the process; what is not committed then is delivered again::

        @app.agent(chunk_topic(app, "requests"))
        async def copy(stream):
            await relay(stream, transform, sink)

    Args:
        stream: The agent's stream; one relay per agent (``concurrency=1``).
        transform: Turns the chunks of a fetch, of different partitions, into the outputs of each,
            by topic. It should yield (`concurrency.turns`) every few milliseconds, because writes
            run in the same thread, but not at its end: that only delays what it has made.
        sink: Sink of the outputs; `attach` it to the app before the start.
        instead: Returns what to write instead if a topic does not accept some outputs: too large,
            or with a timestamp out of its range. Without it that is an error.
    """
    consumer: Consumer = stream.app.consumer
    tracer = consumer.tracer
    async with asyncio.TaskGroup() as writes:
        async for deliveries in _Fetches(stream):
            if tracer is not None:
                tracer.begun(_traces(deliveries))
            outputs_by_chunk = await transform([delivery.chunk for delivery in deliveries])
            if tracer is not None:
                tracer.decided(_traces(deliveries))
            for delivery, outputs in zip(deliveries, outputs_by_chunk, strict=True):
                writes.create_task(_write(consumer, sink, delivery, outputs, instead))
            await turns()  # the writes begin before the next fetch is decided


def _traces(deliveries: Sequence[Delivery]) -> list[ChunkTrace]:
    return [delivery.trace for delivery in deliveries if delivery.trace is not None]


async def _write(
    consumer: Consumer,
    sink: Sink,
    delivery: Delivery,
    outputs: Outputs,
    instead: InsteadOf | None,
) -> None:
    if consumer.owns(delivery):
        chunk = delivery.chunk
        if consumer.tracer is not None and delivery.trace is not None:
            consumer.tracer.writing(delivery.trace)
        try:
            await sink.write(chunk, outputs, partial(instead, chunk) if instead else None)
        except ReleasedError:
            pass
        else:
            consumer.complete(delivery, committed=sink.commits)
            return
    consumer.abandon(delivery)  # the next owner reads it again


def attach(
    app: AppT, sink: Sink | None, max_bytes: int, offsets_missing: OffsetReset = "earliest"
) -> None:
    """Have the app's consumer claim and release `sink`; call it before the app starts.

    Args:
        app: An app on this transport.
        sink: The sink of its relay; None for an app without a relay.
        max_bytes: Nothing more is fetched while chunks of this size together are in flight.
        offsets_missing: Where to start in a partition that was filtered before but has no committed
            offset any more.
    """
    consumer: Consumer = app.consumer
    consumer.attach(sink, max_bytes, offsets_missing)


def report_incidents(app: AppT, incidents: Incidents) -> None:
    """Report problems of the topics that the app reads; call it before the app starts."""
    consumer: Consumer = app.consumer
    consumer.report_to(incidents)


def bound_batches(
    app: AppT,
    max_unpacked_bytes: int,
    refused: Callable[[RefusedBatch], None],
    *,
    keep: bool = False,
) -> None:
    """Set the limits within which the app's consumer reads batches, before the app starts.

    Args:
        app: An app on this transport.
        max_unpacked_bytes: Maximum size of an unpacked batch; a larger one is refused.
        refused: Called with every batch that is refused.
        keep: Whether chunks contain a `RefusedBatch` in place of a refused batch.
    """
    consumer: Consumer = app.consumer
    consumer.bound_batches(max_unpacked_bytes, refused, keep=keep)


def trace_chunks(app: AppT, tracer: Tracer) -> None:
    """Have `tracer` time every chunk; call it before the app starts."""
    consumer: Consumer = app.consumer
    consumer.tracer = tracer


def consumer_lag(app: AppT) -> dict[tuple[str, int], int | None]:
    """Records per owned (topic, partition) that are not acknowledged yet; see `Consumer.lag`."""
    consumer: Consumer = app.consumer
    return {tuple(tp): lag for tp, lag in consumer.lag().items()}


def idle_partitions(app: AppT) -> dict[tuple[str, int], float]:
    """Seconds without progress per owned (topic, partition); see `Consumer.idle_s`."""
    consumer: Consumer = app.consumer
    return {tuple(tp): idle_s for tp, idle_s in consumer.idle_s().items()}


def joined(app: AppT) -> bool:
    """Whether the group has assigned partitions to this consumer, and no rebalance is going on."""
    return bool(app.rebalancing_count) and not app.rebalancing
