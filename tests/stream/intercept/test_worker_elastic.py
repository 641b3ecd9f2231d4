"""The rate while workers come, go, and are killed: real workers, read off the output topics."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

from models.settings import Settings
from stream.brokers.children import ChildProcess
from stream.kafka.client import client_options
from stream.kafka.reader import read_topic
from stream.messages import read_state, sequence_header
from stream.transport import ChunkSink, Outgoing
from stream.verify.account import Account, Fate, FaultKind
from stream.verify.rate import Observed, achieved_rate, worst_window_error
from stream.verify.verifier import account
from tests.stream.control.workers import DEADLINE_S, sample_of, until, worker
from tests.stream.control.workers import tiny as same_traffic  # noqa: F401

pytestmark = pytest.mark.broker

RATE = 0.5
VOLUMES = (2, 4, 8, 16)
EVERY_S = 0.05
SPAN = 4000


@pytest.fixture
def tiny(same_traffic: Settings) -> Settings:  # noqa: F811
    """Small chunks, so that a worker's hands are never full for long."""
    return same_traffic.override({"worker.max_chunk_records": 50})


class Traffic:
    """Requests that keep coming, 600 a second; the higher the partition the better they are."""

    def __init__(self, settings: Settings) -> None:
        self.sent = 0
        self._settings = settings

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Send until the end of the block."""
        self._ending = False
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._flow())
            try:
                yield
            finally:
                self._ending = True

    async def _flow(self) -> None:
        async with ChunkSink(client_options(self._settings.kafka)) as sink:
            due_s = time.monotonic()
            while not self._ending:
                await self._send(sink)
                due_s += EVERY_S
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    async def _send(self, sink: ChunkSink) -> None:
        for partition, volume in enumerate(VOLUMES):
            rows = []
            for _ in range(volume):
                segments = [{"id": f"t{self.sent % 13}"}, {"id": f"t{self.sent % 7}"}]
                user = {"data": [{"segment": segments[: partition % 3]}]}
                site = {"id": f"s{self.sent % 41}"}
                value = {"id": f"r{self.sent}", "imp": [{}], "site": site, "user": user}
                seq = [sequence_header(self.sent)]
                stamp = round(time.time() * 1000)
                rows.append(Outgoing(b"k", orjson.dumps(value), stamp, seq))
                self.sent += 1
            await sink.send(self._settings.topics.requests, partition, rows)


async def debt(settings: Settings, owed: float, within: float) -> float:
    """The fleet's debt as last published, once it is as owed, or at the end of the time."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        found = 0.0
        async for record in read_topic(settings.kafka, settings.topics.rate_state):
            state = read_state(record.key, record.value)
            found = state.debt if state.scenario == "*" else found
        if abs(found - owed) <= within or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.2)


def owed(found: Account) -> float:
    """Passes owed less passes given, as read off the output topics."""
    return sum(
        float((1 - RATE) * len(fate_N) - (fate_N == Fate.PASSED).sum())
        for fate_N in found.fates.values()
    )


async def settle(settings: Settings, requests: int) -> tuple[Account, Observed]:
    """Wait until everything sent has come out."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        observed = Observed()
        found = await account(settings, observed)
        if found.requests == requests and not found.missing:
            return found, observed
        assert time.monotonic() < deadline, found.summary()
        await asyncio.sleep(0.3)


async def more(child: ChildProcess, port: int, requests: int) -> None:
    """Wait until a worker has decided so many more."""
    before = await sample_of(port)
    least = (before.requests if before is not None else 0) + requests
    await until(child, port, lambda sample: sample.requests >= least)


async def test_scaling_out_and_in_leaves_no_bump_and_exact_books(
    tiny: Settings, tmp_path: Path
) -> None:
    """One worker becomes two, then one again, while requests flow and partitions differ.

    What the fleet says is due at the end is, to the pass, what the output topics show: nothing
    decided by any worker is forgotten or counted twice. Hence the share over all is within the
    slack, and what comes between two states.

    Windows are those of 4,000 requests in publishing order. On a quiet machine their error is 1.5
    points while both work and 4 across the rebalances (partitions wait for seconds and are then
    decided one after another); how much later states come on a busy one is allowed for.
    """
    traffic = Traffic(tiny)
    async with worker(tiny, tmp_path, "first") as (first, port):
        await until(first, port, lambda sample: sample.shared)
        async with traffic.flowing():
            await more(first, port, 2000)
            async with worker(tiny, tmp_path, "second") as (second, second_port):
                await more(second, second_port, 500)
                for child, at in ((first, port), (second, second_port)):
                    await until(child, at, lambda sample: sample.lag < 100)
                began = traffic.sent
                await more(second, second_port, 2000)
                ended = traffic.sent
            await more(first, port, 3000)
        found, observed = await settle(tiny, traffic.sent)
        due = owed(found)
        assert await debt(tiny, due, 0.001) == pytest.approx(due, abs=0.001)
    assert found.exact
    assert found.requests >= 12_000
    fate_N = observed.in_order(found.fates)
    assert abs(achieved_rate(fate_N, 0) - RATE) <= 0.005
    assert ended - began > SPAN
    assert worst_window_error(fate_N[began:ended], RATE, SPAN, 0) <= 0.05
    assert worst_window_error(fate_N, RATE, SPAN, 0) <= 0.06


async def test_a_killed_worker_leaves_the_rate(tiny: Settings, tmp_path: Path) -> None:
    """Of two workers one is killed and one started again; the rate holds, and the debt.

    A killed worker takes with it what it decided since its last summary, some 300 requests, of
    which up to 0.2 differ from the rate, and repeats of what it had not committed: within 200
    passes. The share over all may be off by what is so forgotten, and by the slack: 2 points of
    12,000 requests.
    """
    traffic = Traffic(tiny)
    async with worker(tiny, tmp_path, "heir") as (heir, heir_port):
        await until(heir, heir_port, lambda sample: sample.shared)
        async with traffic.flowing():
            async with worker(tiny, tmp_path, "victim") as (victim, victim_port):
                await more(victim, victim_port, 2000)
                victim.kill()
                await victim.wait()
            await more(heir, heir_port, 4000)
            async with worker(tiny, tmp_path, "again") as (again, again_port):
                await more(again, again_port, 1500)
        found, observed = await settle(tiny, traffic.sent)
        assert await debt(tiny, owed(found), 200.0) == pytest.approx(owed(found), abs=200.0)
    assert set(found.counts) <= {FaultKind.DOUBLED, FaultKind.REORDERED}
    fate_N = observed.in_order(found.fates)
    assert abs(achieved_rate(fate_N, 0) - RATE) <= 0.02
