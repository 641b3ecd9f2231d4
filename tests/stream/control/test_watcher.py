"""Steering real workers over a real broker, and what they tell each other."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner

from models.settings import Settings
from stream.brokers.children import ChildProcess, free_port
from stream.cli.main import build_app
from stream.control.client import read_control, write_control
from stream.kafka.client import client_options
from stream.kafka.reader import read_topic
from stream.messages import Spending, read_state, write_spending
from stream.metrics.scrape import WorkerSample, scrape
from stream.policy import PolicyError
from stream.transport import ChunkSink, Outgoing
from stream.verify.account import Fate
from stream.verify.rate import Observed
from stream.verify.verifier import account
from tests.tiny_artifact import TASKS, Make

pytestmark = pytest.mark.broker
DEADLINE_S = 60.0
APPLIED_S = 2.0


@pytest.fixture
def tiny(settings: Settings, make_artifact: Make) -> Settings:
    """Settings for the tiny artifact's two tasks; requests name a scenario."""
    return Settings(
        **{
            **settings.model_dump(),
            "tasks": [task.model_dump() for task in TASKS],
            "model": {"artifact": str(make_artifact())},
            "policy": {
                "rate": 0.5,
                "weights": {"click": 1.0},
                "uncertainty_source": "own",
                "scenario_path": "site.publisher.id",
                "scenarios": {"strict": {"rate": 0.9}},
            },
        }
    )


@asynccontextmanager
async def worker(settings: Settings, folder: Path, name: str) -> AsyncIterator[tuple[Any, int]]:
    port = free_port()
    mine = settings.override({"worker.metrics_port": port})
    child = ChildProcess(name, ["worker"], folder / f"{name}.log", mine.environment())
    async with child:
        yield child, port


async def publish(settings: Settings, start: int, count: int, publisher: str = "any") -> None:
    async with ChunkSink(client_options(settings.kafka)) as sink:
        for partition in range(settings.kafka.partitions):
            rows = []
            for i in range(start + partition, start + count, settings.kafka.partitions):
                site = {"id": f"s{i % 41}", "publisher": {"id": publisher}}
                body = orjson.dumps({"id": f"r{i}", "imp": [{}], "site": site})
                rows.append(Outgoing(b"%d" % i, body, 1_700_000_000_000 + i, ()))
            await sink.send(settings.topics.requests, partition, rows)


async def sample_of(port: int) -> WorkerSample | None:
    return (await scrape([port])).get(port)


async def until(child: ChildProcess, port: int, done: Any) -> WorkerSample:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        child.check()
        sample = await sample_of(port)
        if sample is not None and done(sample):
            return sample
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {DEADLINE_S} s; log:\n{child.log.read_text()}")


async def say(settings: Settings, topic: str, key: str, value: bytes) -> None:
    async with AIOKafkaProducer(**client_options(settings.kafka)) as producer:
        await producer.send_and_wait(topic, value, key=key.encode(), partition=0)


async def blocked_share(settings: Settings, after: int) -> float:
    observed = Observed()
    found = await account(settings, observed)
    fate_N = observed.in_order(found.fates)[after:]
    return float((fate_N == Fate.BLOCKED).sum() / len(fate_N))


async def test_a_change_is_in_force_within_two_seconds_and_a_bad_one_is_refused(
    tiny: Settings, tmp_path: Path
) -> None:
    """A worker applies and reports a change in time; a bad message leaves the policy as it was."""
    async with worker(tiny, tmp_path, "worker") as (child, port):
        await publish(tiny, 0, 2000)
        before = await until(child, port, lambda sample: sample.requests == 2000)
        assert (before.revision, before.target) == (-1, 0.5)
        revision = await write_control(tiny, "*", {"rate": 0.8})
        said_s = time.monotonic()
        await until(child, port, lambda sample: sample.revision == revision)
        assert time.monotonic() - said_s <= APPLIED_S
        for bad in (b'{"rate": 1.5}', b'{"rte": 0.1}', b'{"reward": "click + "}', b"{oops"):
            await say(tiny, tiny.topics.control, "*", bad)
        revision = await write_control(tiny, "strict", {"rate": 0.7})
        await until(child, port, lambda sample: sample.revision == revision)
        await publish(tiny, 2000, 3000)
        after = await until(child, port, lambda sample: sample.requests == 5000)
        log = child.log.read_text()
    assert after.target == 0.8
    assert log.count("the old policy stays") == 4
    assert "rate: Input should be less than or equal to 1 (found 1.5)" in log
    assert await blocked_share(tiny, 2000) == pytest.approx(0.8, abs=0.02)


async def test_scenarios_hold_rates_of_their_own_and_reports_drive_one(
    tiny: Settings, tmp_path: Path
) -> None:
    """The scenario is read from the request; a spent budget brings the rate to its bound."""
    async with worker(tiny, tmp_path, "worker") as (child, port):
        await publish(tiny, 0, 3000, "strict")
        await until(child, port, lambda sample: sample.requests == 3000)
        assert await blocked_share(tiny, 0) == pytest.approx(0.9, abs=0.02)
        said = {"consumption": {"most": 0.95}, "rate": 0.2}
        revision = await write_control(tiny, "*", said)
        await until(child, port, lambda sample: sample.revision == revision)
        spending = Spending(budget=100.0, spent=100.0, start=0, end=86_400_000, ts=3_600_000)
        await say(tiny, tiny.topics.consumption, "*", write_spending(spending))
        await say(tiny, tiny.topics.consumption, "*", b'{"budget": "much"}')
        await until(child, port, lambda _: "budget: Expected" in child.log.read_text())
        await publish(tiny, 3000, 3000)
        sample = await until(child, port, lambda sample: sample.requests == 6000)
        assert sample.target == pytest.approx(0.95)
    assert await blocked_share(tiny, 3000) == pytest.approx(0.95, abs=0.02)


async def test_two_workers_hold_the_rate_together_and_leave_their_state(
    tiny: Settings, tmp_path: Path
) -> None:
    """Both share their states, and the rate; both take a change; one without the topic says so."""
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
        said_s = time.monotonic()
        for child, port in fleet:
            await until(child, port, lambda sample: sample.revision == revision)
        assert time.monotonic() - said_s <= APPLIED_S
    assert await blocked_share(tiny, 0) == pytest.approx(0.5, abs=0.01)
    states = {}
    async for record in read_topic(tiny.kafka, tiny.topics.rate_state):
        state = read_state(record.key, record.value)
        states[state.partition] = state
    assert set(states) == set(range(tiny.kafka.partitions))
    assert abs(sum(state.due for state in states.values())) < 30.0
    absent = tiny.override({"topics.rate_state": "absent", "kafka.group": "alone"})
    async with worker(absent, tmp_path, "alone") as (child, port):
        sample = await until(child, port, lambda sample: sample.requests == 12_000)
        assert not sample.shared
        assert "this worker holds the rate by itself" in child.log.read_text()


async def test_the_commands_write_what_they_then_read(tiny: Settings) -> None:
    """Changes add up per scenario, reset takes them back, and what cannot be is not written."""
    await write_control(tiny, "*", {"rate": 0.7, "weights": {"click": 2.0}})
    await write_control(tiny, "new", {"capacity": 50.0})
    revision = await write_control(tiny, "*", {"explore": 0.01})
    found = await read_control(tiny)
    assert found.revision == revision == 2
    everything, new = found.settings("*"), found.settings("new")
    assert (everything["rate"], everything["weights"]["click"], everything["explore"]) == (
        0.7, 2.0, 0.01,
    )  # fmt: skip
    assert (new["capacity"], new["rate"], found.settings("strict")["rate"]) == (50.0, 0.7, 0.9)
    assert found.settings("unheard of") == everything
    with pytest.raises(PolicyError, match=r"weights: 'sale' is not a task"):
        await write_control(tiny, "*", {"weights": {"sale": 1.0}})
    await write_control(tiny, "*", None)
    assert (await read_control(tiny)).settings("*")["rate"] == 0.5


def test_the_command_line_sets_and_gets(tiny: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`weir rate set` and `weir policy set` print the revision that `get` then shows."""
    for name, value in tiny.environment().items():
        monkeypatch.setenv(name, value)

    def weir(*arguments: str) -> dict[str, Any]:
        result = CliRunner().invoke(build_app(), arguments)
        assert result.exit_code == 0, result.output
        return dict(json.loads(result.output))

    assert weir("rate", "set", "0.75")["revision"] == 0
    assert weir("policy", "set", "weights.click=3", "confidence=score")["revision"] == 1
    assert weir("rate", "set", "--capacity", "900", "--scenario", "strict")["revision"] == 2
    assert weir("rate", "get") == {
        "revision": 2, "rate": 0.75, "capacity": None, "consumption": None,
    }  # fmt: skip
    assert weir("rate", "get", "--scenario", "strict")["capacity"] == 900
    assert weir("policy", "get")["weights"]["click"] == 3
    assert weir("policy", "set", "--reset")["settings"] is None
    assert weir("rate", "get")["rate"] == 0.5
