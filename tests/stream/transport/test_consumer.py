"""Chunks reach agents complete, and offsets are committed only after finished work."""

import asyncio
import itertools
import os
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import faust
import pytest
from faust.types import TP

from stream.brokers.embedded import EmbeddedBroker
from stream.kafka.batches import HEADER_BYTES_HELD
from stream.transport import Chunk, Outgoing, consumer_lag
from stream.transport.room import CHUNKS_IN_FLIGHT
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


def raw(chunk: Chunk) -> list[Outgoing]:
    return [Outgoing(r.key, r.value, r.timestamp, list(r.headers)) for r in chunk]


async def test_delivers_every_record_in_chunks_of_one_partition(
    broker: EmbeddedBroker, unique: Unique
) -> None:
    """Content, order and coordinates of all records arrive, in chunks no larger than asked for."""
    topic = await create(broker.bootstrap, unique("in"))
    sent = {0: numbered(730, "a"), 1: numbered(250, "b")}
    for partition, records in sent.items():
        await write(broker.bootstrap, topic, partition, records)
    seen: dict[int, list[Chunk]] = defaultdict(list)

    async def body(chunk: Chunk) -> None:
        seen[chunk.partition].append(chunk)

    app = new_app(broker.bootstrap, unique("group"))
    add_agent(app, topic, body)
    async with running(app):
        await until(lambda: sum(len(c) for got in seen.values() for c in got) >= 980)
        await until(lambda: sum(consumer_lag(app).values()) == 0)
        assert set(consumer_lag(app)) == {(topic, 0), (topic, 1)}
    for partition, records in sent.items():
        got = seen[partition]
        assert [row for chunk in got for row in raw(chunk)] == records
        assert all(0 < len(chunk) <= 100 for chunk in got)
        assert got[0].start == 0
        assert got[-1].next_offset == len(records)
        for before, after in itertools.pairwise(got):
            assert after.start == before.next_offset
        assert sum(chunk.size for chunk in got) == sum(
            len(r.key or b"") + len(r.value or b"") + HEADER_BYTES_HELD * len(r.headers)
            for r in records
        )
    assert await committed(broker.bootstrap, app.conf.id, topic) == [730, 250]


async def test_a_restart_resumes_after_the_last_finished_chunk(
    broker: EmbeddedBroker, unique: Unique
) -> None:
    """A stop abandons the unfinished chunk; the next start reads it, and nothing before it."""
    topic = await create(broker.bootstrap, unique("in"), 1)
    await write(broker.bootstrap, topic, 0, numbered(350))
    group = unique("group")
    first: list[Chunk] = []

    async def hang_on_the_third(chunk: Chunk) -> None:
        first.append(chunk)
        if len(first) == 3:
            await asyncio.Event().wait()

    app = new_app(broker.bootstrap, group)
    add_agent(app, topic, hang_on_the_third)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stream.transport.consumer.DRAIN_S", 0.2)
        async with running(app):
            await until(lambda: len(first) == 3)
    assert await committed(broker.bootstrap, group, topic, 1) == [first[1].next_offset]

    second: list[Chunk] = []

    async def collect(chunk: Chunk) -> None:
        second.append(chunk)

    app = new_app(broker.bootstrap, group)
    add_agent(app, topic, collect)
    async with running(app):
        await until(lambda: sum(map(len, second)) >= 350 - first[1].next_offset)
    assert [row for c in (*first[:2], *second) for row in raw(c)] == numbered(350)


async def test_a_stop_waits_for_a_chunk_in_progress(broker: EmbeddedBroker, unique: Unique) -> None:
    """A chunk that is finished within the drain time is committed by the stop."""
    topic = await create(broker.bootstrap, unique("in"), 1)
    await write(broker.bootstrap, topic, 0, numbered(60))
    started, finish = asyncio.Event(), asyncio.Event()

    async def body(_chunk: Chunk) -> None:
        started.set()
        await finish.wait()

    app = new_app(broker.bootstrap, unique("group"))
    add_agent(app, topic, body)
    async with running(app):
        await asyncio.wait_for(started.wait(), 20)
        asyncio.get_running_loop().call_later(0.3, finish.set)
    assert await committed(broker.bootstrap, app.conf.id, topic, 1) == [60]


async def test_a_slow_agent_slows_the_fetch(broker: EmbeddedBroker, unique: Unique) -> None:
    """Few chunks are in flight, and none is lost when it goes on."""
    topic = await create(broker.bootstrap, unique("in"))
    await write(broker.bootstrap, topic, 0, numbered(2000))
    await write(broker.bootstrap, topic, 1, numbered(50))
    blocked, seen = asyncio.Event(), Counter[int]()

    async def body(chunk: Chunk) -> None:
        if chunk.partition == 0 and seen[0] >= 100:
            await blocked.wait()
        seen[chunk.partition] += len(chunk)

    app = new_app(broker.bootstrap, unique("group"))
    add_agent(app, topic, body)
    async with running(app):
        ledger = app.consumer.ledger
        full = TP(topic, 0)
        await until(lambda: seen[0] >= 100 and ledger.in_flight(full) == CHUNKS_IN_FLIGHT)
        highest = 0
        for _ in range(100):
            await asyncio.sleep(0.005)
            highest = max(highest, ledger.in_flight(full))
        assert highest == CHUNKS_IN_FLIGHT
        blocked.set()
        await until(lambda: seen == {0: 2000, 1: 50})


RAISING = """
import sys, faust
sys.path.insert(0, {folder!r})
from tests.stream.transport.apps import add_agent, new_app

app = new_app({bootstrap!r}, {group!r})
seen = 0

async def body(chunk):
    global seen
    seen += 1
    if seen == 3:
        raise RuntimeError("boom")

add_agent(app, {topic!r}, body)
sys.argv = sys.argv[:1]
faust.Worker(app, loglevel="ERROR").execute_from_commandline()
"""


async def test_an_agent_that_raises_stops_the_process_and_commits_nothing_of_it(
    broker: EmbeddedBroker, unique: Unique, tmp_path: Path
) -> None:
    """The exit status is not zero, the error is shown, and the chunk stays uncommitted."""
    topic = await create(broker.bootstrap, unique("in"), 1)
    await write(broker.bootstrap, topic, 0, numbered(500))
    group = unique("group")
    program = tmp_path / "app.py"
    program.write_text(
        RAISING.format(
            folder=str(Path(__file__).parents[3]),
            bootstrap=broker.bootstrap,
            group=group,
            topic=topic,
        )
    )
    process = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert process.returncode not in (0, None)
    assert b"boom" in process.stdout + process.stderr
    assert await committed(broker.bootstrap, group, topic, 1) == [200]


async def test_a_rebalance_loses_nothing(broker: EmbeddedBroker, unique: Unique) -> None:
    """While a second consumer joins and the first leaves, every record is seen by one of them."""
    topic = await create(broker.bootstrap, unique("in"), 4)
    group = unique("group")
    seen: dict[str, list[tuple[int, int]]] = {"a": [], "b": []}

    def member(name: str) -> faust.App:
        async def body(chunk: Chunk) -> None:
            await asyncio.sleep(0.01)
            seen[name] += [(chunk.partition, record.offset) for record in chunk]

        app = new_app(broker.bootstrap, group, records=20)
        add_agent(app, topic, body)
        return app

    async def produce(rounds: int) -> None:
        for _ in range(rounds):
            for partition in range(4):
                await write(broker.bootstrap, topic, partition, numbered(50))

    await produce(4)
    a, b = member("a"), member("b")
    await a.start()
    await until(lambda: len(seen["a"]) > 100)
    await b.start()
    await produce(2)
    try:
        await until(lambda: len(seen["b"]) > 0)
    finally:
        await a.stop()
    await produce(2)
    everything = {(partition, offset) for partition in range(4) for offset in range(400)}
    try:
        await until(lambda: {*seen["a"], *seen["b"]} == everything, 40)
        await until(lambda: sum(consumer_lag(b).values()) == 0)
    finally:
        await b.stop()
    assert await committed(broker.bootstrap, group, topic, 4) == [400] * 4
    for mine in seen.values():
        for partition in range(4):
            order = [offset for p, offset in mine if p == partition]
            assert sorted(set(order)) == sorted(order), "a consumer saw a record twice"
