"""Workers that start and run with thousands of hostile messages on the topics they follow."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from aiokafka import AIOKafkaProducer

from models.settings import Settings
from stream.control.client import read_control, write_control
from stream.control.watcher import POLL_RECORDS, ControlWatcher
from stream.kafka.client import client_options
from stream.messages import FleetState, RateSummary, write_state, write_summary
from stream.metrics.worker import WorkerMetrics
from stream.policy import Policy
from tests.stream.control.workers import blocked_share, publish, tiny, until, worker

pytestmark = pytest.mark.broker
EACH = 2_000

__all__ = ["tiny"]

Message = tuple[bytes | None, bytes | None]
DEEP = b'{"a":' * 1020 + b"1" + b"}" * 1020
REPORT = {"budget": 9.0, "spent": 1.0, "start": 0, "end": 10**12, "ts": 10}
STATE = {
    "through": 1, "workers": 1, "per_second": 1.0, "debt": 0.0, "held": 0.0, "rewards": "",
    "above": "",
}  # fmt: skip
SUMMARY = {
    "worker": "w", "sequence": 1, "owed": 0.0, "owed_before": 0.0, "held": 0.0, "drift": 0.0,
    "per_second": 1.0, "rewards": "",
}  # fmt: skip

BAD_CONTROL: list[Message] = [
    (b"*", DEEP),
    (b"*", b"[" * 60_000),
    (b"*", b'{"slack": 1e308}'),
    (b"*", b'{"slack": 1e8}'),
    (b"*", b'{"capacity": "inf"}'),
    (b"*", json.dumps({"reward": "+".join(["click"] * 1000)}).encode()),
    (b"*", b'{"rate": NaN}'),
    (b"*", b'{"weights": {"click": 1e300}}'),
    (b"*", b'{"confidence": "probability-of-improvement"}'),
    (b"*", b'{"uncertainty_source": {"click": "nothing"}}'),
    (b"*", b""),
    (b"*", b"\xff\xfe"),
    (None, b'{"rate": 0.1}'),
    (b"\xff", b'{"rate": 0.1}'),
    (b"x" * 5000, b'{"rate": 0.1}'),
    (b"*\n\x1b[31m", b'{"rate": 2}'),
]
BAD_CONSUMPTION: list[Message] = [
    (b"*", DEEP),
    (b"*", None),
    (b"*", json.dumps({**REPORT, "ts": 1e308}).encode()),
    (b"*", json.dumps({**REPORT, "end": 10**400}).encode()),
    (b"*", json.dumps({**REPORT, "budget": 1e300}).encode()),
    (b"*", json.dumps({**REPORT, "spent": "all"}).encode()),
    (b"*", json.dumps({**REPORT, "ts": 250_000_000_000_000}).encode()),
    (None, json.dumps(REPORT).encode()),
]
BAD_STATES: list[Message] = [
    (b"9" * 5000, json.dumps(STATE).encode()),
    (b"*", DEEP),
    (b"*", None),
    (None, json.dumps(STATE).encode()),
    (b"0:*", b'{"rewards":"","debt":1,"per_second":1,"worker":"w","generation":1}'),
    (b"*", json.dumps({**STATE, "debt": 1e308}).encode()),
    (b"*", json.dumps({**STATE, "through": 2**63}).encode()),
    (b"*", json.dumps({**STATE, "rewards": "AADAfw=="}).encode()),
    (b"*", json.dumps({**STATE, "above": "AACAPw=="}).encode()),
]
BAD_SUMMARIES: list[Message] = [
    (b"*", DEEP),
    (b"*", None),
    (b"*", json.dumps({**SUMMARY, "owed": 1e308}).encode()),
    (b"*", json.dumps({**SUMMARY, "sequence": -1}).encode()),
    (b"*", json.dumps({**SUMMARY, "worker": "w" * 5000}).encode()),
    (b"*", json.dumps({**SUMMARY, "rewards": "AADAfw=="}).encode()),
]


def endlessly(messages: list[Message], count: int) -> Iterator[Message]:
    for number in range(count):
        yield messages[number % len(messages)]


async def produce_all(settings: Settings, topic: str, messages: Iterator[Message]) -> None:
    options = client_options(settings.kafka)
    async with AIOKafkaProducer(**options, acks="all", linger_ms=20) as producer:
        for key, value in messages:
            await producer.send(topic, value, key=key, partition=0)
        await producer.flush()


def refused(port: int) -> dict[str, float]:
    """Refused messages by topic, as a worker exports them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    name = 'weir_refused_messages_total{topic="'
    found = (line.removeprefix(name).split('"} ') for line in lines if line.startswith(name))
    return {topic: float(count) for topic, count in found}


async def test_a_worker_starts_and_works_with_hostile_topics(
    tiny: Settings, tmp_path: Path
) -> None:
    """Thousands of messages of each kind, good ones between: all are counted, none stops it."""
    topics = tiny.topics
    bad = {
        topics.control: BAD_CONTROL, topics.consumption: BAD_CONSUMPTION,
        topics.rate_state: BAD_STATES, topics.rate_summaries: BAD_SUMMARIES,
    }  # fmt: skip
    good = await write_control(tiny, "*", {"rate": 0.7})
    for topic, messages in bad.items():
        await produce_all(tiny, topic, endlessly(messages, EACH))
    none = np.empty(0, np.float32)
    unknown = write_state(FleetState("gone", 1, 1, 1e9, 1e12, 0.0, none, none))
    known = write_state(FleetState("*", 10**9, 1, 1e9, -1e12, 0.0, none, none))
    await produce_all(tiny, topics.rate_state, iter([unknown, known]))
    claim = RateSummary("*", "other", 9, -1e12, 1e12, 0.0, 0.0, 1e9, none)
    await produce_all(tiny, topics.rate_summaries, iter([write_summary(claim)]))
    assert (await read_control(tiny)).revision == good
    async with worker(tiny, tmp_path, "worker") as (child, port):
        started_s = time.monotonic()
        sample = await until(child, port, lambda sample: sample.shared)
        took_s = time.monotonic() - started_s
        assert sample.revision == good
        await until(child, port, lambda _: refused(port) == dict.fromkeys(bad, float(EACH)))
        await publish(tiny, 0, 4000)
        await until(child, port, lambda sample: sample.requests == 4000)
        for topic, messages in bad.items():
            await produce_all(tiny, topic, endlessly(messages, EACH))
        revision = await write_control(tiny, "strict", {"rate": 0.95})
        await until(child, port, lambda sample: sample.revision == revision)
        await until(child, port, lambda _: refused(port) == dict.fromkeys(bad, 2.0 * EACH))
        await publish(tiny, 4000, 4000)
        await until(child, port, lambda sample: sample.requests == 8000)
        log = child.log.read_text()
    assert took_s < 60.0
    # a state within its bounds is believed, and leans a share by a tenth of the passes
    assert await blocked_share(tiny, 0) == pytest.approx(0.7, abs=0.03 + 0.02)
    assert f"{topics.control}[0]@" in log
    assert len([line for line in log.splitlines() if "refused, the old policy" in line]) <= 200
    assert max(len(line) for line in log.splitlines()) < 2_000


async def test_thousands_of_scenarios_are_in_force_within_seconds(
    tiny: Settings, tmp_path: Path
) -> None:
    """A worker that starts with 8,000 scenarios on the topic has all of them in force."""
    changes = (
        (b"s%d" % n, b'{"rate": %.3f, "weights": {"click": %d}}' % (n / 9000, 1 + n % 50))
        for n in range(8000)
    )
    await produce_all(tiny, tiny.topics.control, changes)
    last = await write_control(tiny, "*", {"rate": 0.25})
    async with worker(tiny, tmp_path, "worker") as (child, port):
        await until(child, port, lambda sample: sample.revision == last)
        await publish(tiny, 0, 2000, "s4500")
        await until(child, port, lambda sample: sample.requests == 2000)
    assert await blocked_share(tiny, 0) == pytest.approx(0.5, abs=0.02)


async def test_a_start_does_not_wait_for_a_topic_without_end(
    tiny: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once its time is over a start goes on with what has been read; the rest follows."""
    count = 3 * POLL_RECORDS
    changes = ((b"*", b'{"explore": %.4f}' % (n / count)) for n in range(count))
    await produce_all(tiny, tiny.topics.control, changes)
    monkeypatch.setattr("stream.control.watcher.START_LIMIT_S", 0.0)
    policy = Policy(tiny.policy, tiny.task_set)
    watcher = ControlWatcher(tiny, policy, WorkerMetrics())
    await watcher.start()
    try:
        assert policy.in_force["*"].explore < (count - 1) / count
        assert "too long to be read before the first request" in caplog.text
        deadline_s = time.monotonic() + 60.0
        while policy.in_force["*"].explore < (count - 1.5) / count:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.05)
    finally:
        await watcher.stop()
    assert caplog.text.count("is in force") <= 10
