"""The feedback worker on the embedded broker, in its own process, which is killed."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from models.features import FeatureSpec
from models.settings import Settings, TopicSettings, load_settings
from stream.brokers.children import ChildProcess
from stream.brokers.embedded import EmbeddedBroker
from stream.feedback.partitions import joins_partitions
from stream.kafka.client import client_options
from stream.kafka.rights import changelog
from stream.kafka.topics import TopicError, ensure_topics
from stream.messages import Decision, Outcome, Reason, TrainingExample
from stream.transport import ChunkSink, Outgoing
from tests.conftest import connection
from tests.tiny_artifact import Make

REQUESTS = 60
PARTITIONS = 2
WORKER = """
from models.features import FeatureSpec
from models.settings import load_settings
from stream.faust_app.app import run_app
from stream.feedback.worker import FeedbackApp
run_app(FeedbackApp(load_settings(), FeatureSpec.load("openrtb")))
"""


@contextmanager
def feedback_worker(settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A feedback worker in its own process, which is killed at the end of the block."""
    environment = settings.environment()
    flat = {name: environment[name] for name in ("WEIR_KAFKA", "WEIR_FEEDBACK", "WEIR_TOPICS")}
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            env=os.environ | flat,
            cwd=Path(__file__).resolve().parents[3],
            stdout=out,
            stderr=out,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def hasty_settings(broker: EmbeddedBroker, unique: Callable[[str], str]) -> Settings:
    """Settings with windows of seconds; named differently from the shared fixture."""
    names = {name: unique(name) for name in TopicSettings.model_fields}
    base = load_settings(
        flags={
            **connection(broker),
            "kafka.group": unique("group"),
            "kafka.session_timeout_s": 6,
            "kafka.partitions": PARTITIONS,
            "feedback.time_scale": 3600,
            "feedback.lateness_s": 1,
        }
    )
    return base.model_copy(update={"topics": TopicSettings(**names)})


def passed(number: int, ts: int) -> Outgoing:
    value = orjson.dumps({"id": f"r{number}", "imp": [{"id": "1"}], "site": {"id": f"s{number}"}})
    decision = Decision("m1", number / 100, 0.5, Reason.SCORE, 1.0, number)
    return Outgoing(b"exchange", value, ts, [decision.to_header()])


class Reader:
    """The examples that were read so far."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self.examples: list[TrainingExample] = []

    async def until(
        self, done: Callable[[list[TrainingExample]], bool], seconds: float = 60
    ) -> None:
        """Read until `done`, for this time at most."""
        deadline = time.monotonic() + seconds
        while not done(self.examples):
            assert time.monotonic() < deadline, f"{len(self.examples)} examples came"
            for records in (await self._consumer.getmany(timeout_ms=200)).values():
                self.examples += [TrainingExample.from_bytes(record.value) for record in records]


async def publish_outcomes(sink: ChunkSink, topic: str, outcomes: list[Outcome]) -> None:
    for number, outcome in enumerate(outcomes):
        record = Outgoing(None, outcome.to_bytes(), outcome.ts)
        await sink.send(topic, number % PARTITIONS, [record])


@pytest.mark.broker
@pytest.mark.slow
async def test_labels_are_right_across_a_kill(hasty_settings: Settings, tmp_path: Path) -> None:
    """Labels are right after reordering, duplicates, unknown ids, garbage and a SIGKILL."""
    settings = hasty_settings
    rng = random.Random(7)
    topics = settings.topics
    await ensure_topics(settings.kafka, topics)
    start = int(time.time() * 1000)
    early, late, expected = plan(start, rng)
    consumer = AIOKafkaConsumer(
        topics.examples,
        **client_options(settings.kafka),
        auto_offset_reset="earliest",
    )
    log = tmp_path / "worker.log"
    try:
        reader = Reader(consumer)
        async with ChunkSink(client_options(settings.kafka)) as sink:
            await sink.send(topics.outcomes, 0, [Outgoing(None, b"{garbage", start)])
            await publish_outcomes(sink, topics.outcomes, early)
            for number in range(REQUESTS):
                record = passed(number, start + number)
                await sink.send(topics.passed, number % PARTITIONS, [record])
            await consumer.start()
            with feedback_worker(settings, log):
                await reader.until(lambda seen: len({e.request_id for e in seen}) == REQUESTS)
            assert not any(e.labels["deal"] == 0 for e in reader.examples)
            await publish_outcomes(sink, topics.outcomes, late)
            with feedback_worker(settings, log) as worker:
                await processed(settings, topics.outcomes)
                await processed(settings, topics.joins)
                await close_windows(sink, topics.passed, reader, start)
                worker.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(worker.wait, 20) == 0
    finally:
        await consumer.stop()
    newest = {e.request_id: e for e in reader.examples}
    assert {rid: newest[rid].labels for rid in expected} == expected
    assert "0]@0: not joined: outcome" in log.read_text()
    check_content(newest["r5"], start)


async def create(settings: Settings, counts: dict[str, int]) -> None:
    admin = AIOKafkaAdminClient(**client_options(settings.kafka))
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, count, 1) for name, count in counts.items()])
    finally:
        await admin.close()


@pytest.mark.broker
async def test_partition_counts_are_those_of_the_topics(
    hasty_settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """A joins topic of one partition (created by a broker, for example) works as well."""
    settings, topics = hasty_settings, hasty_settings.topics
    settings = settings.override({"kafka.partitions": 5, "model.artifact": str(make_artifact())})
    await create(
        settings, {topics.passed: 2, topics.outcomes: 2, topics.joins: 1, topics.examples: 1}
    )
    start = int(time.time() * 1000)
    command = ["worker", "--role", "feedback"]
    async with (
        ChunkSink(client_options(settings.kafka)) as sink,
        AIOKafkaConsumer(
            topics.examples, **client_options(settings.kafka), auto_offset_reset="earliest"
        ) as consumer,
        ChildProcess("feedback", command, tmp_path / "log", settings.environment()) as child,
    ):
        for number in range(REQUESTS):
            await sink.send(topics.passed, number % PARTITIONS, [passed(number, start + number)])
        clicks = [Outcome(f"r{i}", "click", start + i + 100) for i in range(REQUESTS)]
        await publish_outcomes(sink, topics.outcomes, clicks)
        await Reader(consumer).until(
            lambda seen: sum(e.labels["click"] == 1 for e in seen) == REQUESTS
        )
        child.check()
    assert await joins_partitions(settings) == 1


@pytest.mark.broker
async def test_joins_of_another_count_than_their_state_are_refused(
    hasty_settings: Settings,
) -> None:
    """The error has the reason and the remedy; a missing joins topic is named, too."""
    settings, topics = hasty_settings, hasty_settings.topics
    with pytest.raises(TopicError, match=f"{topics.joins}: no such topic"):
        await joins_partitions(settings)
    await create(settings, {topics.joins: 2, changelog(settings): 3, topics.examples: 2})
    with pytest.raises(TopicError, match=rf"{topics.joins} has 2 .* has 3: pending"):
        await joins_partitions(settings)


def plan(
    start: int, rng: random.Random
) -> tuple[list[Outcome], list[Outcome], dict[str, dict[str, int | None]]]:
    """Outcomes before and after the kill, shuffled and doubled, and the labels that must follow."""
    early, late, expected = [], [], {}
    for number in range(REQUESTS):
        rid, ts = f"r{number}", start + number
        labels: dict[str, int | None] = {"click": 0, "online": 0, "cart": 0, "deal": 0}
        if number % 2:
            early.append(Outcome(rid, "click", ts + 100))
            labels["click"] = 1
        if number % 3 == 0:
            late.append(Outcome(rid, "deal", ts + 5_000))
            labels["deal"] = 1
        if number % 5 == 0:
            late.append(Outcome(rid, "cart", ts + 24_001))
        expected[rid] = labels
    early += [Outcome("stranger", "click", start), Outcome("r1", "bid", start + 5)]
    early, late = early * 2, late * 2
    rng.shuffle(early)
    rng.shuffle(late)
    return early, late, expected


async def processed(settings: Settings, topic: str) -> None:
    """Wait until the worker has committed all of a topic."""
    eye = AIOKafkaConsumer(
        **client_options(settings.kafka),
        group_id=f"{settings.kafka.group}-feedback",
        enable_auto_commit=False,
    )
    await eye.start()
    try:
        tps = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        eye.assign(tps)
        await eye.seek_to_beginning(*tps)
        while await eye.getmany(timeout_ms=300):
            pass
        ends = {tp: await eye.position(tp) for tp in tps}
        deadline = time.monotonic() + 60
        while any([(await eye.committed(tp) or 0) < ends[tp] for tp in tps]):
            assert time.monotonic() < deadline, f"{topic} was not processed: {ends}"
            await asyncio.sleep(0.1)
    finally:
        await eye.stop()


async def close_windows(sink: ChunkSink, topic: str, reader: Reader, start: int) -> None:
    """Close all windows with requests of a later time, and wait for what follows."""
    for number in range(1000, 1080):
        await sink.send(topic, number % PARTITIONS, [passed(number, start + 400_000)])
    own = {f"r{number}" for number in range(REQUESTS)}
    await reader.until(lambda seen: len({e.request_id for e in seen if e.mature} & own) == REQUESTS)


def check_content(example: TrainingExample, start: int) -> None:
    spec = FeatureSpec.load("openrtb")
    request = orjson.loads(passed(5, 0).value or b"")
    times_N = np.array([start + 5])
    assert example.features == spec.extractor().extract([request], times_N)[0].tolist()
    assert (example.ts, example.spec) == (start + 5, spec.hash)
    assert example.decision == Decision("m1", 0.05, 0.5, Reason.SCORE, 1.0, 5)


@pytest.mark.broker
@pytest.mark.slow
async def test_a_worker_whose_memory_fills_keeps_a_share_that_stands_for_all(
    hasty_settings: Settings, tmp_path: Path
) -> None:
    """Of three times what fits, a sample by id is kept, logged, weighted, and labelled."""
    feedback = hasty_settings.feedback.model_copy(update={"max_memory_bytes": 4_194_304})
    settings = hasty_settings.model_copy(update={"feedback": feedback})
    topics, requests = settings.topics, 9_000
    await ensure_topics(settings.kafka, topics)
    start = int(time.time() * 1000) - 60_000
    consumer = AIOKafkaConsumer(
        topics.examples, **client_options(settings.kafka), auto_offset_reset="earliest"
    )
    await consumer.start()
    log = tmp_path / "worker.log"
    try:
        reader = Reader(consumer)
        async with ChunkSink(client_options(settings.kafka)) as sink:
            for partition in range(PARTITIONS):
                numbers = range(partition, requests, PARTITIONS)
                records = [passed(number, start + 5 * number) for number in numbers]
                await sink.send(topics.passed, partition, records)
            with feedback_worker(settings, log) as worker:
                await processed(settings, topics.passed)
                await processed(settings, topics.joins)
                for number in range(requests, requests + 80):
                    record = passed(number, start + 400_000)
                    await sink.send(topics.passed, number % PARTITIONS, [record])
                await reader.until(lambda seen: stood_for(seen, requests) > 0.8 * requests, 120)
                worker.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(worker.wait, 60) == 0
    finally:
        await consumer.stop()
    newest = {e.request_id: e for e in reader.examples}
    assert len(newest) < 0.7 * requests
    assert stood_for(reader.examples, requests) == pytest.approx(requests, rel=0.2)
    assert {e.weight for e in newest.values()} > {1.0}
    assert "of new requests, by id" in log.read_text()


def stood_for(examples: list[TrainingExample], requests: int) -> float:
    """For how many of the first requests the finished examples stand."""
    final = {e.request_id: e.weight for e in examples if e.mature}
    return sum(weight for rid, weight in final.items() if int(rid.removeprefix("r")) < requests)
