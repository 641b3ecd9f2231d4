"""Feedback and trainer read what any producer packed, and go on behind what cannot be unpacked."""

import asyncio
import gzip
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from models.settings import Settings
from stream.kafka.batches import CODECS
from stream.kafka.client import client_options
from stream.messages import Decision, TrainingExample
from stream.transport import ChunkSink, Outgoing
from tests.stream.feedback.test_worker import Reader, feedback_worker, names, passed
from tests.stream.kafka.batches.fetched import Row, frame, payload_of, send_raw
from trainer.service.daemon import TrainerDaemon

pytestmark = pytest.mark.broker
EACH = 6


def bomb() -> bytes:
    zeros: list[Row] = [(1, b"k", bytes(30_000_000), [])]
    return frame(gzip.compress(payload_of(zeros)), base=0, count=1, attributes=1)


async def test_passed_requests_are_read_whatever_packs_them(
    settings: Settings, tmp_path: Path
) -> None:
    """All codecs, a bomb before each: every example is there; feedback packs too."""
    settings = settings.override({"worker.compression": "zstd"})
    topic, client = settings.topics.passed, client_options(settings.kafka)
    start, log = int(time.time() * 1000), tmp_path / "feedback.log"
    for at, codec in enumerate(CODECS):
        await send_raw(client, topic, 0, [(bomb(), 1)])
        rows = [passed(number, start + number) for number in range(at * EACH, (at + 1) * EACH)]
        async with ChunkSink(client, compression=codec) as sink:
            await sink.send(topic, 0, rows)
    async with Reader(settings) as reader:
        with feedback_worker(settings, log):
            await reader.until(lambda: reader.ids() == names(EACH * len(CODECS)))
    refused = f"{topic}[0]@0: the batch up to offset 0 is skipped: gzip: unpacks to more"
    assert refused in log.read_text()


@pytest.mark.parametrize("codec", CODECS)
async def test_the_trainer_stores_examples_whatever_packs_them(
    settings: Settings,
    tmp_path: Path,
    codec: str,
) -> None:
    """A bomb before them, and one on the announcements, keep no example out of the store."""
    settings = settings.override({"trainer.store": str(tmp_path / "store")})
    topics, client = settings.topics, client_options(settings.kafka)
    for topic in (topics.examples, topics.models):
        await send_raw(client, topic, 0, [(bomb(), 1)])
    decision = passed(1, 1).headers[0][1]
    assert decision is not None
    now = int(time.time() * 1000)
    rows = [
        TrainingExample(f"r{n}", now, "spec", [1], Decision.from_bytes(decision)) for n in range(20)
    ]
    async with ChunkSink(client, compression=codec) as sink:
        await sink.send(topics.examples, 0, [Outgoing(b"k", r.to_bytes(), r.ts) for r in rows])
    stop = asyncio.Event()
    daemon = TrainerDaemon(settings)
    task = asyncio.create_task(daemon.run(stop))
    deadline = time.monotonic() + 60
    while daemon._intake.buffered < len(rows):
        assert time.monotonic() < deadline
        assert not task.done(), task
        await asyncio.sleep(0.05)
    stop.set()
    await task


async def test_a_plain_consumer_reads_what_feedback_packs(
    settings: Settings,
) -> None:
    """The codecs are those of any client."""
    client, topic = client_options(settings.kafka), settings.topics.examples
    sent = [Outgoing(b"k", b"%d" % n * 50, n) for n in range(50)]
    for codec in CODECS:
        async with ChunkSink(client, compression=codec) as sink:
            await sink.send(topic, 0, sent)
    values: list[bytes] = []
    async with AIOKafkaConsumer(topic, **client, auto_offset_reset="earliest") as consumer:
        while len(values) < len(CODECS) * len(sent):
            values.append((await consumer.getone()).value)
    assert values == [record.value for record in sent] * len(CODECS)
