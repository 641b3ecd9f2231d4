"""The trainer daemon against the embedded broker."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from aiokafka import AIOKafkaConsumer

from models.artifact import load_artifact
from models.features import FeatureSpec
from models.registry import Registry
from models.settings import Settings, TopicSettings, load_settings
from models.tasks import Task, TaskSet
from stream.broker import EmbeddedBroker
from stream.records import Decision, ModelAnnouncement, Reason, TrainingExample
from stream.topics import ensure_topics
from stream.transport import ChunkSink, Outgoing
from trainer.config import TrainConfig
from trainer.daemon import TrainerDaemon
from trainer.gates import GateLimits
from trainer.store import ExampleStore
from trainer.train import train

SPEC = FeatureSpec.parse(
    """
schema = "openrtb-2"

[[feature]]
name = "site"
kind = "categorical"
path = "site.id"
size = 12
""",
    "test",
)
TASKS = TaskSet([Task(name="click", window_s=60), Task(name="deal", window_s=120)])
ROWS = 2000


def examples(first: int, count: int) -> list[TrainingExample]:
    """Requests whose click and deal rates grow with the site."""
    rng = np.random.default_rng(first)
    made = []
    for number in range(first, first + count):
        site = int(rng.integers(1, 12))
        labels: dict[str, int | None] = {
            "click": int(rng.random() < site / 13),
            "deal": int(rng.random() < site / 40),
        }
        decision = Decision("m0", 0.5, 0.4, Reason.SCORE, 1.0, number)
        made.append(TrainingExample(f"r{number}", number, SPEC.hash, [site], labels, decision))
    return made


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What serves before the first rebuild."""
    folder = tmp_path_factory.mktemp("serving")
    store = ExampleStore(folder / "store", TASKS)
    store.append(examples(100_000, 1000), {})
    created = datetime(2024, 5, 1, tzinfo=UTC)
    train(
        folder / "store",
        SPEC,
        folder / "v0",
        TrainConfig().quick(),
        0,
        created=created,
        tasks=TASKS,
    )
    return folder / "v0"


@pytest.fixture
def settings(
    broker: EmbeddedBroker, unique: Callable[[str], str], serving: Path, tmp_path: Path
) -> Settings:
    base = load_settings(
        flags={
            "kafka.bootstrap": broker.bootstrap,
            "kafka.partitions": 2,
            "model.artifact": str(serving),
            "model.registry": str(tmp_path / "registry"),
            "trainer.store": str(tmp_path / "store"),
            "trainer.rebuild_examples": ROWS,
            "trainer.poll_s": 0.1,
            "trainer.quick": True,
            "policy.weights": {"click": 1.0, "deal": 20.0},
            "tasks": [task.model_dump() for task in TASKS],
        }
    )
    names = {name: unique(name) for name in TopicSettings.model_fields}
    return base.model_copy(update={"topics": TopicSettings(**names)})


def kept_aside(settings: Settings) -> list[Path]:
    return list(Path(settings.trainer.store).glob("rebuilds/*/candidate/manifest.json"))


@asynccontextmanager
async def running(settings: Settings, limits: GateLimits) -> AsyncIterator[TrainerDaemon]:
    """A daemon, stopped and awaited at the end of the block."""
    stop = asyncio.Event()
    daemon = TrainerDaemon(settings, limits=limits)
    task = asyncio.create_task(daemon.run(stop))
    try:
        yield daemon
    finally:
        stop.set()
        await task


async def publish(settings: Settings, made: list[TrainingExample]) -> None:
    async with ChunkSink({"bootstrap_servers": settings.kafka.bootstrap}) as sink:
        for partition in range(2):
            records = [
                Outgoing(example.request_id.encode(), example.to_bytes(), 0)
                for example in made[partition::2]
            ]
            await sink.send(settings.topics.examples, partition, records)


async def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        await asyncio.sleep(0.05)


async def announcements(settings: Settings) -> list[ModelAnnouncement]:
    consumer = AIOKafkaConsumer(
        settings.topics.models,
        bootstrap_servers=settings.kafka.bootstrap,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        fetched = await consumer.getmany(timeout_ms=1000)
        records = [record for records in fetched.values() for record in records]
        assert {record.key for record in records} <= {b"default"}
        return [ModelAnnouncement.from_bytes(record.value) for record in records]
    finally:
        await consumer.stop()


@pytest.mark.broker
@pytest.mark.slow
async def test_enough_new_examples_make_a_model_that_is_announced(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Examples are stored once across a restart; the rebuild is published, verified, announced."""
    await ensure_topics(settings.kafka, settings.topics)
    caplog.set_level("INFO", logger="trainer.daemon")
    stored = settings.trainer.store
    await publish(settings, examples(0, 500))
    async with running(settings, GateLimits()) as daemon:
        await until(lambda: len(daemon._buffer) == 500)
    assert ExampleStore(stored, TASKS).offsets == {0: 250, 1: 250}
    await publish(settings, examples(500, ROWS))
    registry = Registry(settings.model.registry)
    async with running(settings, GateLimits(auc_drop=0.2, log_loss_growth=0.5, ece_growth=0.2)):
        await until(lambda: "announced" in caplog.text)
    made = await announcements(settings)
    assert [announcement.version for announcement in made] == registry.versions()
    artifact = load_artifact(made[0].url, made[0].manifest_sha256)
    assert artifact.spec.hash == SPEC.hash
    training = artifact.manifest.training
    assert training.rows + training.held_out_rows >= ROWS
    frame = ExampleStore(stored, TASKS).read()
    assert frame["request_id"].to_list() == [f"r{number}" for number in range(500 + ROWS)]


@pytest.mark.broker
@pytest.mark.slow
async def test_a_candidate_that_fails_a_gate_is_not_announced(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused candidate is logged with the reason and kept aside; nothing is published."""
    await ensure_topics(settings.kafka, settings.topics)
    await publish(settings, examples(0, ROWS))
    async with running(settings, GateLimits(auc_drop=-1.0)):
        await until(lambda: "refused, kept aside: auc click" in caplog.text)
    assert await announcements(settings) == []
    assert Registry(settings.model.registry).versions() == []
    assert len(kept_aside(settings)) == 1


@pytest.mark.broker
@pytest.mark.slow
async def test_a_rebuild_that_fails_does_not_end_the_daemon(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """With nothing that serves a rebuild cannot start; examples are stored all the same."""
    broken = settings.override({"model.artifact": "/nowhere"})
    broken = broken.model_copy(update={"topics": settings.topics})
    await ensure_topics(broken.kafka, broken.topics)
    await publish(broken, examples(0, ROWS))
    async with running(broken, GateLimits()):
        await until(lambda: "rebuild failed" in caplog.text)
        await publish(broken, examples(ROWS, ROWS))
        await until(lambda: caplog.text.count("rebuild failed") == 2)
    assert len(ExampleStore(Path(broken.trainer.store), TASKS).read()) == 2 * ROWS
