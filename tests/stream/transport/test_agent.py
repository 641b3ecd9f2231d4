"""A relay writes the outputs of every chunk in order, and commits nothing that is not written."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

import faust
import pytest

from stream.brokers.embedded import EmbeddedBroker
from stream.transport import (
    Chunk,
    Instead,
    Member,
    Outgoing,
    Outputs,
    RecordTooLargeError,
    ReleasedError,
    attach,
    chunk_topic,
    relay,
)
from stream.transport.chunk import held_bytes
from stream.transport.room import CHUNKS_IN_FLIGHT, FETCHES_READY
from tests.stream.transport.apps import committed, create, new_app, numbered, running, until, write

pytestmark = pytest.mark.broker
Transform = Callable[[Sequence[Chunk]], Awaitable[Sequence[Outputs]]]


async def nothing_filtered(_partitions: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
    """No output topic has records."""
    return set()


class RecordingSink:
    """A sink that records its calls; writes wait while `gate` is clear."""

    def __init__(self, *, commits: bool = False) -> None:
        self.commits = commits
        self.filtered = nothing_filtered
        self.calls: list[str] = []
        self.written: dict[int, list[bytes | None]] = {}
        self.given: list[int] = []
        self.members: list[Member] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.limit = 1_000_000

    async def claim(self, partitions: Iterable[tuple[str, int]], member: Member) -> None:
        self.calls.append(f"claim {sorted(p for _, p in partitions)}")
        self.members.append(member)

    async def drain(self) -> None:
        self.calls.append("drain")

    async def release(self, partitions: Iterable[tuple[str, int]]) -> None:
        self.calls.append(f"release {sorted(p for _, p in partitions)}")

    async def write(self, chunk: Chunk, outputs: Outputs, shrink: Instead | None) -> None:
        for index, record in enumerate(outputs["out"]):
            size = len(record.value or b"")
            if size > self.limit and shrink is not None:
                error = RecordTooLargeError("out", chunk.partition, {index: size}, self.limit)
                outputs = shrink(outputs, error)
        self.given.append(len(chunk))
        await self.gate.wait()
        self.written.setdefault(chunk.partition, []).extend(r.value for r in outputs["out"])


async def copy(chunks: Sequence[Chunk]) -> Sequence[Outputs]:
    return [{"out": chunk.records} for chunk in chunks]


def add_relay(app: faust.App, topic: str, sink: Any, transform: Transform, *more: Any) -> None:
    async def agent(stream: Any) -> None:
        await relay(stream, transform, sink, *more)

    app.agent(chunk_topic(app, topic), name=f"{app.conf.id}-agent")(agent)


async def test_claims_before_it_reads_and_writes_each_partition_in_order(
    broker: EmbeddedBroker, unique: Callable[[str], str]
) -> None:
    """The sink owns the partitions first; it gets every record once, in order, and is released."""
    topic = await create(broker.bootstrap, unique("in"))
    records = numbered(500)
    for partition in (0, 1):
        await write(broker.bootstrap, topic, partition, records)
    sink, app = RecordingSink(), new_app(broker.bootstrap, unique("g"), records=40)
    attach(app, sink, max_bytes=1_000_000)
    add_relay(app, topic, sink, copy)
    async with running(app):
        await until(lambda: [len(sink.written.get(p, [])) for p in (0, 1)] == [500, 500])
    assert next(call for call in sink.calls if call.startswith("claim")) == "claim [0, 1]"
    assert sink.members[0].id
    assert sink.members[0].generation >= 0
    for partition in (0, 1):
        assert sink.written[partition] == [record.value for record in records]
    assert await committed(broker.bootstrap, app.conf.id, topic) == [500, 500]


async def test_transforms_while_it_writes_and_waits_when_the_broker_is_slow(
    broker: EmbeddedBroker, unique: Callable[[str], str]
) -> None:
    """While a write does not end, only a few chunks of its partition are processed."""
    topic = await create(broker.bootstrap, unique("in"))
    await write(broker.bootstrap, topic, 0, numbered(500))
    sink, app = RecordingSink(), new_app(broker.bootstrap, unique("g"), records=10)
    attach(app, sink, max_bytes=1_000_000)
    sink.gate.clear()
    add_relay(app, topic, sink, copy)
    async with running(app):
        await until(lambda: len(sink.given) == CHUNKS_IN_FLIGHT)
        await asyncio.sleep(0.5)  # it would have taken more by now
        assert sink.given == [10] * CHUNKS_IN_FLIGHT
        assert sink.written == {}
        sink.gate.set()
        await until(lambda: len(sink.written.get(0, [])) == 500)
    assert sink.written[0] == [record.value for record in numbered(500)]


async def test_nothing_grows_old_in_a_queue_in_front_of_the_agent(
    broker: EmbeddedBroker, unique: Callable[[str], str]
) -> None:
    """While one fetch is transformed, a few are ready; the others wait at the broker."""
    topic = await create(broker.bootstrap, unique("in"))
    for partition in (0, 1):
        await write(broker.bootstrap, topic, partition, numbered(200))
    sink, app = RecordingSink(), new_app(broker.bootstrap, unique("g"), records=10)
    attach(app, sink, max_bytes=1_000_000)
    gate = asyncio.Event()

    async def slow(chunks: Sequence[Chunk]) -> Sequence[Outputs]:
        await gate.wait()
        return await copy(chunks)

    add_relay(app, topic, sink, slow)
    async with running(app):
        ledger = app.consumer.ledger
        await until(lambda: sum(map(ledger.in_flight, ledger)) >= 1 + FETCHES_READY)
        await asyncio.sleep(0.5)  # it would have fetched more by now
        assert sum(map(ledger.in_flight, ledger)) <= 2 * (1 + FETCHES_READY)  # of two partitions
        assert ledger.bytes_in_flight() <= (1 + FETCHES_READY) * held_bytes(numbered(200)[-10:])
        gate.set()
        await until(lambda: [len(sink.written.get(p, [])) for p in (0, 1)] == [200, 200])


async def test_a_write_begins_before_the_next_fetch_is_transformed(
    broker: EmbeddedBroker, unique: Callable[[str], str]
) -> None:
    """Although the next fetch is there and its transform does not yield."""
    topic = await create(broker.bootstrap, unique("in"), 1)
    await write(broker.bootstrap, topic, 0, numbered(100))
    sink, app = RecordingSink(), new_app(broker.bootstrap, unique("g"), records=10)
    attach(app, sink, max_bytes=1_000_000)
    events: list[str] = []

    async def noted(chunks: Sequence[Chunk]) -> Sequence[Outputs]:
        events.append(f"transform {chunks[0].start}")
        time.sleep(0.01)  # the next fetch is ready by the end of it
        return await copy(chunks)

    write_to = sink.write

    async def written(chunk: Chunk, outputs: Outputs, instead: Instead | None) -> None:
        events.append(f"write {chunk.start}")
        await write_to(chunk, outputs, instead)

    sink.write = written  # type: ignore[method-assign]
    add_relay(app, topic, sink, noted)
    async with running(app):
        await until(lambda: len(sink.written.get(0, [])) == 100)
    starts = [int(event.split()[1]) for event in events if event.startswith("transform")]
    assert events == [f"{what} {start}" for start in starts for what in ("transform", "write")]


async def test_bytes_in_flight_are_bounded_over_all_partitions(
    broker: EmbeddedBroker, unique: Callable[[str], str]
) -> None:
    """While the limit is reached, nothing more is fetched from any partition."""
    topic = await create(broker.bootstrap, unique("in"), 4)
    big = [Outgoing(None, bytes([i]) * 20_000, 1000 + i) for i in range(20)]
    for partition in range(4):
        await write(broker.bootstrap, topic, partition, big)
    sink, app = RecordingSink(), new_app(broker.bootstrap, unique("g"), records=1)
    attach(app, sink, max_bytes=50_000)
    sink.gate.clear()
    add_relay(app, topic, sink, copy)
    async with running(app):
        await until(lambda: app.consumer.ledger.bytes_in_flight() >= 50_000)
        await asyncio.sleep(0.5)
        assert app.consumer.ledger.bytes_in_flight() <= 50_000 + 4 * 20_000
        sink.gate.set()
        await until(lambda: [len(sink.written.get(p, [])) for p in range(4)] == [20] * 4)
    assert [sink.written[p] for p in range(4)] == [[record.value for record in big]] * 4


async def test_an_output_that_is_too_large_is_replaced(
    broker: EmbeddedBroker, unique: Callable[[str], str]
) -> None:
    """Only this output is replaced, and the partition is not blocked."""
    topic = await create(broker.bootstrap, unique("in"))
    values = [b"a" * size for size in (5, 500, 5, 600, 5)]
    await write(broker.bootstrap, topic, 0, [Outgoing(None, v, 1000) for v in values])
    sink, app = RecordingSink(), new_app(broker.bootstrap, unique("g"))
    attach(app, sink, max_bytes=1_000_000)
    sink.limit = 100

    def shrink(chunk: Chunk, outputs: Outputs, error: RecordTooLargeError) -> Outputs:
        records = list(outputs["out"])
        (index,) = error.sizes
        records[index] = Outgoing(None, b"cut %d" % chunk.records[index].offset, 1000)
        return {"out": records}

    add_relay(app, topic, sink, copy, shrink)
    async with running(app):
        await until(lambda: len(sink.written.get(0, [])) == 5)
    assert sink.written[0] == [b"aaaaa", b"cut 1", b"aaaaa", b"cut 3", b"aaaaa"]


async def test_a_failed_write_stops_the_app_and_commits_nothing(
    broker: EmbeddedBroker, unique: Callable[[str], str]
) -> None:
    """An error of the sink is raised; what it did not write is delivered again."""
    topic = await create(broker.bootstrap, unique("in"))
    await write(broker.bootstrap, topic, 0, numbered(5))
    sink, app = RecordingSink(), new_app(broker.bootstrap, unique("g"))
    attach(app, sink, max_bytes=1_000_000)

    async def broken(_chunk: Chunk, _outputs: Outputs, _shrink: Instead | None) -> None:
        raise OSError("disk full")

    sink.write = broken  # type: ignore[method-assign]
    add_relay(app, topic, sink, copy)
    async with running(app):
        await until(lambda: app.crashed)
    assert await committed(broker.bootstrap, app.conf.id, topic) == [0, 0]


async def test_a_chunk_whose_partition_was_released_is_left_to_the_next_owner(
    broker: EmbeddedBroker, unique: Callable[[str], str]
) -> None:
    """It is neither committed nor an error."""
    topic = await create(broker.bootstrap, unique("in"))
    await write(broker.bootstrap, topic, 0, numbered(5))
    sink, app = RecordingSink(), new_app(broker.bootstrap, unique("g"))
    attach(app, sink, max_bytes=1_000_000)
    refused: list[Chunk] = []

    async def gone(chunk: Chunk, _outputs: Outputs, _shrink: Instead | None) -> None:
        refused.append(chunk)
        raise ReleasedError(repr(chunk))

    sink.write = gone  # type: ignore[method-assign]
    add_relay(app, topic, sink, copy)
    async with running(app):
        await until(lambda: bool(refused))
        await asyncio.sleep(0.5)  # a commit would have come by now
        assert not app.crashed
    assert await committed(broker.bootstrap, app.conf.id, topic) == [0, 0]
