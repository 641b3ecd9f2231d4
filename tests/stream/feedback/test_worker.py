"""The feedback worker in its own process, which is killed, and what its topic refuses."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from models.features import FeatureSpec
from models.settings import Settings
from stream.brokers.children import ChildProcess
from stream.feedback.worker import FeedbackApp, FeedbackWorker
from stream.kafka.client import client_options
from stream.messages import Decision, Reason, TrainingExample
from stream.transport import Chunk, ChunkSink, Outgoing, RecordsRefusedError
from tests.tiny_artifact import Make

PARTITIONS = 4
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
    sections = ("WEIR_KAFKA", "WEIR_FEEDBACK", "WEIR_TOPICS", "WEIR_WORKER")
    flat = {name: environment[name] for name in sections}
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


def passed(number: int, ts: int) -> Outgoing:
    value = orjson.dumps({"id": f"r{number}", "imp": [{"id": "1"}], "site": {"id": f"s{number}"}})
    decision = Decision("m1", number / 100, 0.5, Reason.SCORE, 1.0, number)
    return Outgoing(b"exchange", value, ts, [decision.to_header()])


class Reader:
    """Reads the examples' topic; an async context manager.

    Attributes:
        records: The records that were read so far.
        examples: What they contain.
    """

    def __init__(self, settings: Settings) -> None:
        client = client_options(settings.kafka)
        topic = settings.topics.examples
        self._consumer = AIOKafkaConsumer(topic, **client, auto_offset_reset="earliest")
        self.records: list[ConsumerRecord] = []
        self.examples: list[TrainingExample] = []

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._consumer.stop()

    async def until(self, done: Callable[[], bool], seconds: float = 60) -> None:
        """Read until `done`, for this time at most."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, f"{len(self.examples)} examples came"
            for records in (await self._consumer.getmany(timeout_ms=200)).values():
                self.records += records
                self.examples += [TrainingExample.from_bytes(record.value) for record in records]

    def ids(self) -> set[str]:
        """Ids of all examples that were read."""
        return {example.request_id for example in self.examples}


def names(end: int) -> set[str]:
    return {f"r{number}" for number in range(end)}


async def publish(sink: ChunkSink, settings: Settings, numbers: range, start: int) -> None:
    """Passed requests onto the partitions in turn."""
    for partition in range(PARTITIONS):
        mine = [n for n in numbers if n % PARTITIONS == partition]
        await sink.send(settings.topics.passed, partition, [passed(n, start + n) for n in mine])


@pytest.mark.broker
@pytest.mark.slow
async def test_no_example_is_lost_by_a_kill(settings: Settings, tmp_path: Path) -> None:
    """Workers are killed at work, three times: every request has its one example, the same again.

    An example is written to the partition number of its request.
    """
    start, killed, total = int(time.time() * 1000), 12_000, 12_500
    log = tmp_path / "worker.log"
    async with ChunkSink(client_options(settings.kafka)) as sink, Reader(settings) as reader:
        for kill in range(3):
            numbers = range(kill * killed // 3, (kill + 1) * killed // 3)
            await publish(sink, settings, numbers, start)
            before = len(reader.ids())
            with feedback_worker(settings, log) as worker:
                await reader.until(lambda least=before: len(reader.ids()) > least + 500)
                assert worker.poll() is None
        await publish(sink, settings, range(killed, total), start)  # of which nobody was killed
        with feedback_worker(settings, log) as worker:
            await reader.until(lambda: len(reader.ids()) == total)
            await processed(settings, settings.topics.passed)
            worker.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(worker.wait, 20) == 0
    assert reader.ids() == names(total)
    assert len({example.to_bytes() for example in reader.examples}) == total
    assert all(int(r.key[1:]) % PARTITIONS == r.partition for r in reader.records)
    check_content(next(e for e in reader.examples if e.request_id == "r5"), start)


def check_content(example: TrainingExample, start: int) -> None:
    spec = FeatureSpec.load("openrtb")
    request = orjson.loads(passed(5, 0).value or b"")
    features = spec.extractor().extract([request], np.array([start + 5]))[0].tolist()
    decision = Decision("m1", 0.05, 0.5, Reason.SCORE, 1.0, 5)
    assert example == TrainingExample("r5", start + 5, spec.hash, features, decision, 1.0)


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


@pytest.mark.broker
async def test_the_command_samples_with_weights(
    settings: Settings, make_artifact: Make, tmp_path: Path
) -> None:
    """`weir worker --role feedback` with a keep-share; an unreadable request is logged."""
    settings = settings.override(
        {"feedback.keep_share": 0.25, "model.artifact": str(make_artifact())}
    )
    start, total = int(time.time() * 1000), 2_000
    command = ["worker", "--role", "feedback"]
    async with (
        ChunkSink(client_options(settings.kafka)) as sink,
        Reader(settings) as reader,
        ChildProcess("feedback", command, tmp_path / "log", settings.environment()) as child,
    ):
        await sink.send(settings.topics.passed, 0, [Outgoing(b"k", b"{garbage", start)])
        await publish(sink, settings, range(total), start)
        await processed(settings, settings.topics.passed)
        await reader.until(lambda: len(reader.ids()) > 0.2 * total)
        child.check()
    assert {example.weight for example in reader.examples} == {4.0}
    assert len(reader.ids()) < 0.3 * total
    assert f"{settings.topics.passed}[0]@0: no example: " in (tmp_path / "log").read_text()


def test_examples_that_their_topic_refuses_are_left_out(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are written; each refused one is counted and logged with its request's place."""
    app = FeedbackApp(settings, FeatureSpec.load("openrtb"))
    (worker,) = [each for each in app.on_init_dependencies() if isinstance(each, FeedbackWorker)]
    topics = settings.topics
    rows = [Outgoing(b"%d" % n, b"v", 0, source=70 + n) for n in range(4)]
    error = RecordsRefusedError(topics.examples, 3, [0, 2], "too large")
    chunk = Chunk(topics.passed, 3, [], 70, 74, 0, 0.0)
    left = worker.without_refused(chunk, {topics.examples: rows}, error)
    assert left == {topics.examples: [rows[1], rows[3]]}
    labels = {"topic": topics.passed}
    refused = worker.metrics.registry.get_sample_value("weir_refused_messages_total", labels)
    assert refused == 2
    assert f"{topics.passed}[3]@72: no example: too large" in caplog.text
