"""A feedback worker that reads malformed records on all of its topics."""

import asyncio
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from models.settings import Settings
from stream.kafka.client import client_options
from stream.kafka.topics import ensure_topics
from stream.messages import Outcome, TrainingExample
from stream.transport import ChunkSink, Outgoing
from tests.stream.feedback.hostile import Hostile
from tests.stream.feedback.test_worker import (  # noqa: F401
    PARTITIONS,
    Reader,
    feedback_worker,
    hasty_settings,
    passed,
)

GOOD = 30
#: Hostile records per topic; HOSTILE_RECORDS=20000 for the long version.
HOSTILE = int(os.environ.get("HOSTILE_RECORDS", "1500"))


async def send(sink: ChunkSink, topic: str, records: Iterable[Outgoing]) -> None:
    """Onto the partitions in turn."""
    by_partition: list[list[Outgoing]] = [[] for _ in range(PARTITIONS)]
    for number, record in enumerate(records):
        by_partition[number % PARTITIONS].append(record)
    for partition, part in enumerate(by_partition):
        await sink.send(topic, partition, part)


async def send_long(settings: Settings, topic: str) -> None:
    """An outcome that brokers take, but that no batch of Weir's own holds."""
    producer = AIOKafkaProducer(**client_options(settings.kafka), max_request_size=1_040_000)
    await producer.start()
    try:
        long = b'{"request_id": "h", "pad": "' + b"x" * 1_010_000 + b'"}'
        await producer.send_and_wait(topic, long, partition=0)
    finally:
        await producer.stop()


def good(first: int, now_ms: int) -> tuple[list[Outgoing], list[Outgoing]]:
    """Requests and outcomes of all their tasks: each has one example, of four positives."""
    numbers = range(first, first + GOOD)
    outcomes = [
        Outgoing(None, Outcome(f"r{n}", task, now_ms + n + 10).to_bytes(), now_ms)
        for n in numbers
        for task in ("click", "online", "cart", "deal")
    ]
    return [passed(n, now_ms + n) for n in numbers], outcomes


async def ended(worker: subprocess.Popen[bytes]) -> int:
    worker.send_signal(signal.SIGTERM)
    return await asyncio.to_thread(worker.wait, 60)


@pytest.mark.broker
@pytest.mark.slow
async def test_hostile_records_end_nothing_and_hide_nothing(
    hasty_settings: Settings,  # noqa: F811
    tmp_path: Path,
) -> None:
    """On the pass topic, outcomes, joins and the changelog, mixed with good ones, restarts too."""
    settings, topics = hasty_settings, hasty_settings.topics
    await ensure_topics(settings.kafka, topics)
    changelog = f"{settings.kafka.group}-feedback-joins-changelog"
    now_ms = int(time.time() * 1000)
    hostile = Hostile(5, now_ms)
    log = tmp_path / "worker.log"
    consumer = AIOKafkaConsumer(
        topics.examples, **client_options(settings.kafka), auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        reader = Reader(consumer)
        async with ChunkSink(client_options(settings.kafka)) as sink:
            for round_number in range(2):
                requests, outcomes = good(round_number * GOOD, now_ms)
                await send_long(settings, topics.outcomes)
                for topic, records in (
                    (topics.passed, hostile.passed()),
                    (topics.outcomes, hostile.outcomes()),
                    (topics.joins, hostile.joins()),
                ):
                    await send(sink, topic, itertools.islice(records, HOSTILE))
                await send(sink, topics.passed, requests)
                await send(sink, topics.outcomes, outcomes)
                with feedback_worker(settings, log) as worker:
                    wanted = {f"r{n}" for n in range((round_number + 1) * GOOD)}
                    await reader.until(partial(all_complete, wanted), 120 + HOSTILE // 20)
                    assert worker.poll() is None
                    assert await ended(worker) == 0
                await send(sink, changelog, itertools.islice(hostile.changelog(), HOSTILE))
    finally:
        await consumer.stop()
    assert len([e for e in reader.examples if e.request_id in wanted]) == 2 * GOOD
    text = log.read_text()
    assert "Traceback" not in text
    for topic in (topics.passed, topics.outcomes, topics.joins, changelog):
        assert f"{topic}[" in text
    assert max(map(len, text.splitlines())) < 3_000


def all_complete(wanted: set[str], seen: list[TrainingExample]) -> bool:
    return wanted <= {e.request_id for e in seen if set(e.labels.values()) == {1}}
