"""Sharing the state of the rates between workers, over brokers that answer and that do not."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path

import faust
import numpy as np
import pytest

from models.settings import Settings
from stream.control.client import write_control
from stream.control.fleet_member import MemberState
from stream.control.rate_sharing import RateSharing
from stream.kafka.reader import read_topic
from stream.messages import FleetState, read_state, read_summary
from stream.metrics.worker import WorkerMetrics
from stream.policy import Policy
from stream.transport import Chunk
from tests.stream.control.workers import (
    DEADLINE_S,
    blocked_share,
    publish,
    sample_of,
    tiny,
    until,
    worker,
)
from tests.stream.transport import apps
from tests.stream.transport.apps import add_agent, new_app, running

__all__ = ["tiny"]

APPLIED_S = 2.0


async def test_an_assignment_while_the_first_connection_fails_does_not_end_the_worker() -> None:
    """A broker that accepts connections and never answers, then goes: the assignment is kept."""
    connected = asyncio.Event()
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        connected.set()
        await reader.read()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = Settings().override({"kafka.bootstrap": f"127.0.0.1:{port}"})
    sharing = RateSharing(settings, Policy(settings.policy, settings.task_set), WorkerMetrics())
    starting = asyncio.create_task(sharing.start())
    await connected.wait()
    assert sharing.member.state is MemberState.CONNECTING
    sharing.member.assign(frozenset({0, 1}))
    server.close()
    for writer in writers:
        writer.close()
    await starting
    assert sharing.member.state is MemberState.STANDALONE
    assert sharing.member.assignment == {0, 1}
    await sharing.stop()
    assert sharing.member.state is MemberState.STOPPED


@pytest.mark.broker
async def test_a_step_that_times_out_is_logged_with_a_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A timeout has no text of its own."""
    settings = Settings()
    sharing = RateSharing(settings, Policy(settings.policy, settings.task_set), WorkerMetrics())
    sharing.member.connect()
    await sharing._or_standalone(asyncio.Event().wait(), 0.01)
    assert "rate-state, rate-summaries: unavailable (no answer in time)" in caplog.text


async def test_a_worker_owns_what_the_group_assigns_to_it(settings: Settings) -> None:
    """Two apps of a group own all partitions between them; when one leaves, the other owns all."""
    everything = frozenset(range(settings.kafka.partitions))

    async def copy(_chunk: Chunk) -> None:
        """Read and do nothing."""

    def sharing_of(app: faust.App) -> RateSharing:
        add_agent(app, settings.topics.requests, copy)
        policy = Policy(settings.policy, settings.task_set)
        sharing = RateSharing(settings, policy, WorkerMetrics())
        sharing.follow_assignment(app)
        return sharing

    one, two = (new_app(settings.kafka.bootstrap, settings.kafka.group) for _ in range(2))
    first, second = sharing_of(one).member, sharing_of(two).member
    async with running(one):
        await apps.until(lambda: first.assignment == everything)
        async with running(two):
            await apps.until(lambda: bool(second.assignment and first.assignment < everything))
            assert first.assignment | second.assignment == everything
            assert not first.assignment & second.assignment
        await apps.until(lambda: first.assignment == everything)


async def last_state(settings: Settings) -> FleetState | None:
    """The last state of ``*`` on the topic."""
    found = None
    async for record in read_topic(settings.kafka, settings.topics.rate_state):
        state = read_state(record.key, record.value)
        found = state if state.scenario == "*" else found
    return found


@pytest.mark.broker
async def test_what_one_worker_publishes_at_its_stop_the_next_one_starts_with(
    tiny: Settings,
) -> None:
    """The last summary is on the topic, and the next coordinator has it in its first state."""
    first = Policy(tiny.policy, tiny.task_set, worker="first")
    sharing = RateSharing(tiny, first, WorkerMetrics(), lambda partition: f"v{partition}")
    await sharing.start()
    assert sharing.member.state is MemberState.SHARING
    sharing.member.assign(frozenset({0, 2}))
    count = 1000
    scores_NT = np.random.default_rng(0).random((count, 2)).astype(np.float32)
    hashes_N, times_N = np.zeros(count, np.uint64), np.arange(count)
    made = first.decide(
        *(hashes_N, times_N, scores_NT, scores_NT), partitions_N=np.repeat([0, 2], count // 2)
    )
    owed = 0.5 * count - np.count_nonzero(made.passed_N)
    await sharing.stop()
    summaries = [
        read_summary(record.key, record.value)
        async for record in read_topic(tiny.kafka, tiny.topics.rate_summaries)
    ]
    assert summaries[-1].owed == owed
    assert summaries[-1].versions == {"v0": 1, "v2": 1}
    second = Policy(tiny.policy, tiny.task_set, worker="second")
    sharing = RateSharing(tiny, second, WorkerMetrics())
    sharing.member.assign(frozenset(range(tiny.kafka.partitions)))
    await sharing.start()
    deadline = time.monotonic() + DEADLINE_S
    while (state := await last_state(tiny)) is None or state.through < len(summaries):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert state.debt == owed
    await sharing.stop()


@pytest.mark.broker
async def test_two_workers_hold_the_rate_together_and_leave_their_state(
    tiny: Settings, tmp_path: Path
) -> None:
    """Both share states and apply a change; a worker without the topic is standalone."""
    async with AsyncExitStack() as stack:
        fleet = [
            await stack.enter_async_context(worker(tiny, tmp_path, name)) for name in ("a", "b")
        ]
        for start in range(0, 12_000, 2000):
            await publish(tiny, start, 2000)
            deadline = time.monotonic() + DEADLINE_S
            done = 0.0
            while done < start + 2000 and time.monotonic() < deadline:
                samples = [await sample_of(port) for _child, port in fleet]
                done = sum(sample.requests for sample in samples if sample)
                await asyncio.sleep(0.1)
            await asyncio.sleep(1.0)  # the time between two exchanges, for the exchange to matter
        assert all(sample is not None and sample.shared for sample in samples)
        revision = await write_control(tiny, "*", {"rate": 0.6})
        written_s = time.monotonic()
        for child, port in fleet:
            await until(child, port, lambda sample: sample.revision == revision)
        assert time.monotonic() - written_s <= APPLIED_S
    assert await blocked_share(tiny, 0) == pytest.approx(0.5, abs=0.01)
    state = await last_state(tiny)
    assert state is not None
    assert state.through > 3
    assert abs(state.debt) < 30.0
    absent = tiny.override({"topics.rate_state": "absent", "kafka.group": "alone"})
    async with worker(absent, tmp_path, "alone") as (child, port):
        sample = await until(child, port, lambda sample: sample.requests == 12_000)
        assert not sample.shared
        assert "this worker controls the rates standalone" in child.log.read_text()
