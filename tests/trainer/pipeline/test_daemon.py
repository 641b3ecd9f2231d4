"""The trainer daemon against the embedded broker."""

import asyncio
import itertools
import os
import resource
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from aiokafka import AIOKafkaConsumer

from models.artifact import load_artifact
from models.artifact.registry import Registry
from models.features import FeatureSpec
from models.settings import Settings, TopicSettings, load_settings
from models.tasks import Task, TaskSet
from stream.brokers.children import free_port
from stream.brokers.embedded import EmbeddedBroker
from stream.kafka.topics import ensure_topics
from stream.messages import Decision, ModelAnnouncement, Reason, TrainingExample
from stream.transport import ChunkSink, Outgoing
from tests.stream.feedback.hostile import Hostile
from tests.trainer.pipeline.test_example_store import small_disk
from trainer.gates.report import GateLimits, GateReport
from trainer.pipeline.daemon import TrainerDaemon
from trainer.pipeline.example_store import ExampleStore
from trainer.pipeline.train import train
from trainer.training.config import TrainConfig

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
LENIENT = GateLimits(
    better=-9,
    log_loss=9,
    auc_pr=9,
    calibration=9,
    reward=9,
    teacher_score=-1,
    teacher_uncertainty=-1,
    slowdown=99,
    min_positives=1,
    patience=0,
)
"""Nothing but a missing class or a wrong export is refused."""


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


def ids(store: str) -> list[str]:
    """The ids of all stored examples."""
    parts = [pl.read_parquet(part) for part in ExampleStore(store, TASKS).parts]
    return [rid for part in parts for rid in part["request_id"]]


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
    deadline = time.monotonic() + 120
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
    caplog.set_level("INFO", logger="trainer")
    stored = settings.trainer.store
    await publish(settings, examples(0, 500))
    async with running(settings, GateLimits()) as daemon:
        await until(lambda: len(daemon._buffer) == 500)
    assert ExampleStore(stored, TASKS).offsets == {0: 250, 1: 250}
    await publish(settings, examples(500, ROWS))
    registry = Registry(settings.model.registry)
    async with running(settings, LENIENT):
        await until(lambda: " announced: " in caplog.text)
    made = await announcements(settings)
    assert [announcement.version for announcement in made] == registry.versions()
    artifact = load_artifact(made[0].url, made[0].manifest_sha256)
    assert artifact.spec.hash == SPEC.hash
    gates = GateReport.model_validate_json((Path(made[0].url) / "gates.json").read_bytes())
    assert (gates.candidate, gates.trial, gates.verdict) == (made[0].version, 1, "pass")
    assert artifact.manifest.files.keys() >= {"gates.json"}
    assert "Gates: pass" in (Path(made[0].url) / "card.html").read_text()
    training = artifact.manifest.training
    assert training.rows + training.held_out_rows >= ROWS
    assert sorted(ids(stored)) == sorted(f"r{number}" for number in range(500 + ROWS))


@pytest.mark.broker
@pytest.mark.slow
async def test_a_candidate_that_fails_a_gate_is_not_announced(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused candidate is logged with the reason and kept aside; nothing is published."""
    await ensure_topics(settings.kafka, settings.topics)
    await publish(settings, examples(0, ROWS))
    async with running(settings, GateLimits(better=9.0)):
        await until(
            lambda: "refused, its files are kept: better: shown not to be better" in caplog.text
        )
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
    assert len(ids(broken.trainer.store)) == 2 * ROWS
    assert not list(Path(broken.trainer.store).glob("scratch/*"))


def sample(daemon: TrainerDaemon, name: str, **labels: str) -> float:
    return daemon.metrics.registry.get_sample_value(name, labels) or 0.0


async def publish_raw(settings: Settings, topic: str, records: list[Outgoing]) -> None:
    async with ChunkSink({"bootstrap_servers": settings.kafka.bootstrap}) as sink:
        await sink.send(topic, 0, records)


@pytest.mark.broker
async def test_hostile_examples_and_announcements_end_nothing(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Good examples among 3,000 hostile ones are stored once each; the others are counted."""
    await ensure_topics(settings.kafka, settings.topics)
    topic, models = settings.topics.examples, settings.topics.models
    hostile = Hostile(11, int(time.time() * 1000))
    await publish_raw(settings, topic, list(itertools.islice(hostile.examples(), 3_000)))
    announced = ModelAnnouncement("v9", "/etc", "0" * 64, 5).to_bytes()
    bad = [Outgoing(b"default", value, 5) for value in (None, b"{", b"[" * 3_000, announced)]
    await publish_raw(settings, models, bad)
    await publish(settings, examples(0, 500))
    async with running(settings, GateLimits()) as daemon:
        examined = partial(sample, daemon, "weir_trainer_examples_total")
        fates = ("mature", "immature", "refused")
        await until(lambda: sum(examined(fate=fate) for fate in fates) == 3_500)
        loaded = await asyncio.to_thread(daemon._incumbent.load)
        assert loaded.url == settings.model.artifact
    async with running(settings, GateLimits()) as again:
        await until(lambda: again._health.unready() == {})
        assert again._store.rows == daemon._store.rows
    assert sorted(rid for rid in ids(settings.trainer.store) if rid.startswith("r")) == sorted(
        f"r{number}" for number in range(500)
    )
    assert f"{topic}[0]@" in caplog.text
    assert f"{models}[0]@2: not what a candidate is compared with" in caplog.text


@pytest.mark.broker
async def test_a_full_disk_is_waited_out(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was consumed stays in memory, and is stored once when there is room again."""
    monkeypatch.setattr("trainer.pipeline.daemon.FLUSH_S", 0.1)
    await ensure_topics(settings.kafka, settings.topics)
    with small_disk(1_000):
        async with running(settings, GateLimits()) as daemon:
            await publish(settings, examples(0, 300))
            errors = partial(sample, daemon, "weir_trainer_errors_total", kind="store")
            await until(lambda: errors() >= 2 and len(daemon._buffer) == 300)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            await until(lambda: daemon._store.rows == 300)
            assert not daemon._buffer
    assert "free space on the disk of trainer.store" in caplog.text
    assert sorted(ids(settings.trainer.store)) == sorted(f"r{number}" for number in range(300))


@pytest.mark.broker
@pytest.mark.slow
async def test_a_rebuild_that_is_killed_is_tried_again(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`kill -9` of the child: named, its temporary files are gone, and the next one publishes."""
    monkeypatch.setattr("trainer.pipeline.daemon.RETRY_S", 0.5)
    caplog.set_level("INFO", logger="trainer")
    await ensure_topics(settings.kafka, settings.topics)
    await publish(settings, examples(0, ROWS))
    scratch = Path(settings.trainer.store) / "scratch"
    async with running(settings, LENIENT) as daemon:
        await until(lambda: bool(list(scratch.glob("rebuild-*/*"))))
        for child in children():
            os.kill(child, signal.SIGKILL)
        await until(lambda: "rebuild failed" in caplog.text)
        assert not list(scratch.glob("rebuild-*"))
        await until(lambda: " announced: " in caplog.text)
        result = partial(sample, daemon, "weir_trainer_rebuilds_total")
        assert (result(result="failed"), result(result="published")) == (1, 1)
        assert sample(daemon, "weir_trainer_gate_passed", gate="log-loss", task="click") == 1
        assert sample(daemon, "weir_trainer_last_rebuild_timestamp_seconds") > time.time() - 600
    assert "status -9" in caplog.text


def children() -> list[int]:
    """The rebuilds that this process started."""
    started = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in started}
    return [pid for pid, command in commands.items() if b"trainer.pipeline.rebuild" in command]


@pytest.mark.broker
async def test_brokers_that_are_away_are_waited_for(
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A trainer that starts before the broker and the topic consumes once both are there."""
    monkeypatch.setattr("trainer.pipeline.reader.RETRY_S", 0.2)
    late = EmbeddedBroker(tmp_path / "late.log", port=free_port())
    mine = settings.model_copy(
        update={"kafka": settings.kafka.model_copy(update={"bootstrap": late.bootstrap})}
    )
    async with running(mine, GateLimits()) as daemon:
        await until(lambda: "no broker answers" in caplog.text)
        with late:
            await until(lambda: daemon._reader._failures > 0 and late.pid is not None)
            await ensure_topics(mine.kafka, mine.topics)
            await publish(mine, examples(0, 100))
            await until(lambda: len(daemon._buffer) == 100)
    assert len(ids(mine.trainer.store)) == 100


@pytest.mark.broker
async def test_a_heartbeat_says_how_far_everything_is(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the log and as metrics: rows, lag, new mature examples, when the next rebuild comes."""
    monkeypatch.setattr("trainer.pipeline.daemon.HEARTBEAT_S", 0.2)
    monkeypatch.setattr("trainer.pipeline.daemon.STATE_S", 0.1)
    monkeypatch.setattr("trainer.pipeline.daemon.FLUSH_S", 0.1)
    caplog.set_level("INFO", logger="trainer")
    await ensure_topics(settings.kafka, settings.topics)
    async with running(settings, GateLimits()) as daemon:
        await until(lambda: "the next rebuild starts after 2000 new mature examples" in caplog.text)
        await publish(settings, examples(0, 200))
        await until(lambda: "200 examples stored, lag 0, 200 new mature examples" in caplog.text)
        assert "the next rebuild starts after 1800 more, or in 8" in caplog.text
        assert sample(daemon, "weir_trainer_store_rows") == 200
        assert sample(daemon, "weir_trainer_waiting_examples") == 200
        assert sample(daemon, "weir_trainer_lag", partition="1") == 0
        now = sample(daemon, "weir_trainer_last_progress_timestamp_seconds")
        assert time.time() - 120 < now <= time.time()


@pytest.mark.broker
async def test_a_topic_made_anew_is_read_from_its_beginning(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stored offset that is out of range is logged, and nothing of the new topic is lost."""
    monkeypatch.setattr("trainer.pipeline.daemon.STATE_S", 0.2)
    await ensure_topics(settings.kafka, settings.topics)
    ExampleStore(settings.trainer.store, TASKS).append(examples(9_000, 10), {0: 10_000, 1: 0})
    await publish(settings, examples(0, 100))
    async with running(settings, GateLimits()) as daemon:
        await until(lambda: len(daemon._buffer) == 100)
    assert (
        f"{settings.topics.examples}[0]@10000 is out of range: the topic was created again"
        in caplog.text
    )
    assert ExampleStore(settings.trainer.store, TASKS).offsets == {0: 50, 1: 50}
