"""The trainer daemon against the embedded broker."""

import asyncio
import itertools
import resource
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
from models.settings import Settings, TopicSettings, load_settings
from models.settings.gates import GateLimits
from models.tasks import Task, TaskSet
from stream.brokers.children import free_port
from stream.brokers.embedded import EmbeddedBroker
from stream.kafka.topics import ensure_topics
from stream.messages import Decision, ModelAnnouncement, Outcome, Reason, TrainingExample
from stream.transport import ChunkSink, Outgoing
from tests.stream.feedback.hostile import Hostile
from tests.trainer.store.rows import SPEC, START, append, store_at
from tests.trainer.store.test_event_table import small_disk
from trainer.gates.report import GateReport
from trainer.pipeline.train import train
from trainer.service.daemon import TrainerDaemon
from trainer.store.example_store import ExampleStore, batch_of, example_rows
from trainer.store.snapshot import write_snapshot
from trainer.store.windows import AttributionWindows
from trainer.training.config import TrainConfig

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


Traffic = tuple[list[TrainingExample], list[Outcome]]


def traffic(first: int, count: int, ts: int | None = None) -> Traffic:
    """Requests of the last half second whose click and deal rates grow with the site."""
    rng = np.random.default_rng(first)
    start = int(time.time() * 1000) - 500 if ts is None else ts
    made, outcomes = [], []
    for number in range(first, first + count):
        site, at = int(rng.integers(1, 12)), start + number % 400
        rid, decision = f"r{number}", Decision("m0", 0.5, 0.4, Reason.SCORE, 1.0, number)
        made.append(TrainingExample(rid, at, SPEC.hash, [site], decision))
        if rng.random() < site / 13:
            outcomes.append(Outcome(rid, "click", at + 10))
        if rng.random() < site / 40:
            outcomes.append(Outcome(rid, "deal", at + 20))
    return made, outcomes


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What serves before the first rebuild."""
    folder = tmp_path_factory.mktemp("serving")
    append(store_at(folder / "store"), *traffic(100_000, 1000, START), START + 200_000)
    windows = AttributionWindows(TASKS, 1.0, 0.0)
    write_snapshot(str(folder / "store"), folder / "snapshot", SPEC, windows, 10**6)
    created = datetime(2024, 5, 1, tzinfo=UTC)
    train(
        folder / "snapshot",
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
            "feedback.time_scale": 1_000.0,
            "feedback.lateness_s": 0.5,
            "policy.weights": {"click": 1.0, "deal": 20.0},
            "tasks": [task.model_dump() for task in TASKS],
        }
    )
    names = {name: unique(name) for name in TopicSettings.model_fields}
    return base.model_copy(update={"topics": TopicSettings(**names)})


def ids(settings: Settings) -> list[str]:
    """The ids of all stored examples, in order."""
    store = ExampleStore(settings.trainer.store, settings.topics.examples, settings.topics.outcomes)
    files = [pl.read_parquet(file.url) for file in store.examples.files]
    return sorted(rid for file in files for rid in file["request_id"])


def offsets(settings: Settings) -> list[int]:
    """Next offsets of both partitions of the examples."""
    topics = settings.topics
    store = ExampleStore(settings.trainer.store, topics.examples, topics.outcomes)
    return [store.offset(topics.examples, partition) for partition in (0, 1)]


def kept_aside(settings: Settings) -> list[Path]:
    return list(Path(settings.trainer.store).glob("rebuilds/*/candidate/manifest.json"))


@asynccontextmanager
async def running(settings: Settings, limits: GateLimits) -> AsyncIterator[TrainerDaemon]:
    """A daemon, stopped and awaited at the end of the block."""
    stop = asyncio.Event()
    trainer = settings.trainer.model_copy(update={"gates": limits})
    daemon = TrainerDaemon(settings.model_copy(update={"trainer": trainer}))
    task = asyncio.create_task(daemon.run(stop))
    try:
        yield daemon
    finally:
        stop.set()
        await task


async def publish(settings: Settings, made: Traffic) -> None:
    """Outcomes first: a rebuild that starts at once has all of them."""
    topics = settings.topics
    async with ChunkSink({"bootstrap_servers": settings.kafka.bootstrap}) as sink:
        for topic, messages in zip((topics.outcomes, topics.examples), made[::-1], strict=True):
            for partition in range(2):
                records = [
                    Outgoing(message.request_id.encode(), message.to_bytes(), 0)
                    for message in messages[partition::2]
                ]
                await sink.send(topic, partition, records)


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
        made = [ModelAnnouncement.from_bytes(record.value) for record in records]
        assert [record.key for record in records] == [one.key for one in made]
        return made
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
    await publish(settings, traffic(0, 500))
    async with running(settings, GateLimits()) as daemon:
        await until(lambda: daemon._intake.buffered > 500)
        await until(accepted(daemon, 500))
    assert offsets(settings) == [250, 250]
    await publish(settings, traffic(500, ROWS))
    registry = Registry(settings.model.registry)
    async with running(settings, LENIENT):
        await until(lambda: " announced: " in caplog.text)
    made = await announcements(settings)
    assert [announcement.version for announcement in made] == registry.versions()
    assert made[0].previous == load_artifact(settings.model.artifact).manifest.version
    assert (made[0].by.partition("@")[0], made[0].cause) == ("trainer", "rebuild")
    artifact = load_artifact(made[0].url, made[0].manifest_sha256)
    assert artifact.spec.hash == SPEC.hash
    gates = GateReport.model_validate_json((Path(made[0].url) / "gates.json").read_bytes())
    assert (gates.candidate, gates.trial, gates.verdict) == (made[0].version, 1, "pass")
    assert artifact.manifest.files.keys() >= {"gates.json"}
    assert "Gates: pass" in (Path(made[0].url) / "card.html").read_text()
    training = artifact.manifest.training
    assert training.rows + training.held_out_rows >= ROWS
    assert ids(settings) == sorted(f"r{number}" for number in range(500 + ROWS))


@pytest.mark.broker
@pytest.mark.slow
async def test_a_candidate_that_fails_a_gate_is_not_announced(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A refused candidate is logged with the reason and kept aside; nothing is published."""
    await ensure_topics(settings.kafka, settings.topics)
    await publish(settings, traffic(0, ROWS))
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
    await publish(broken, traffic(0, ROWS))
    async with running(broken, GateLimits()):
        await until(lambda: "rebuild failed" in caplog.text)
        await publish(broken, traffic(ROWS, ROWS))
        await until(lambda: caplog.text.count("rebuild failed") == 2)
    assert len(ids(broken)) == 2 * ROWS
    assert not list(Path(broken.trainer.store).glob("scratch/*"))


@pytest.mark.broker
@pytest.mark.slow
async def test_a_rebuild_that_failed_is_retried_by_the_next_trainer(
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The registry could not be written; nothing new has come, and yet the rebuild is made."""
    caplog.set_level("INFO", logger="trainer")
    (tmp_path / "file").touch()
    broken = settings.override({"model.registry": str(tmp_path / "file")})
    broken = broken.model_copy(update={"topics": settings.topics})
    await ensure_topics(settings.kafka, settings.topics)
    await publish(settings, traffic(0, ROWS))
    async with running(broken, LENIENT):
        await until(lambda: "rebuild failed" in caplog.text)
    monkeypatch.setattr("trainer.service.schedule.RETRY_S", 0.0)
    async with running(settings, LENIENT):
        await until(lambda: " announced: " in caplog.text)
    (made,) = await announcements(settings)
    assert made.reason.endswith("rebuilt for the last one failed")


def sample(daemon: TrainerDaemon, name: str, **labels: str) -> float:
    return daemon.metrics.registry.get_sample_value(name, labels) or 0.0


def accepted(daemon: TrainerDaemon, count: int) -> Callable[[], bool]:
    """Whether the trainer has consumed so many examples."""
    return lambda: sample(daemon, "weir_trainer_examples_total", fate="accepted") == count


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
    await publish(settings, traffic(0, 500))
    async with running(settings, GateLimits()) as daemon:
        examined = partial(sample, daemon, "weir_trainer_examples_total")
        fates = ("accepted", "refused")
        await until(lambda: sum(examined(fate=fate) for fate in fates) == 3_500)
        loaded = await asyncio.to_thread(daemon._incumbent.load)
        assert loaded.url == settings.model.artifact
    async with running(settings, GateLimits()) as again:
        await until(lambda: again._health.unready() == {})
        assert again._store.rows == daemon._store.rows
    assert sorted(rid for rid in ids(settings) if rid.startswith("r")) == sorted(
        f"r{number}" for number in range(500)
    )
    assert f"{topic}[0]@" in caplog.text
    assert f"{models}[0]@2: not what a candidate is compared with" in caplog.text


@pytest.mark.broker
async def test_a_full_disk_is_waited_out(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was consumed stays in memory, and is stored once when there is room again."""
    monkeypatch.setattr("trainer.service.intake.FLUSH_S", 0.1)
    await ensure_topics(settings.kafka, settings.topics)
    async with running(settings, GateLimits()) as daemon:
        await until(lambda: daemon._health.unready() == {})
        with small_disk(1):
            await publish(settings, traffic(0, 300))
            errors = partial(sample, daemon, "weir_trainer_errors_total", kind="store")
            await until(lambda: errors() >= 2 and daemon._intake.is_stuck)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
            await until(lambda: daemon._store.rows == 300)
            assert daemon._intake.buffered == 0
    assert "free space on the disk of trainer.store" in caplog.text
    assert ids(settings) == sorted(f"r{number}" for number in range(300))


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
            await publish(mine, traffic(0, 100))
            await until(accepted(daemon, 100))
    assert len(ids(mine)) == 100


@pytest.mark.broker
async def test_a_heartbeat_says_how_far_everything_is(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the log and as metrics: rows, lag, new mature examples, when the next rebuild comes."""
    monkeypatch.setattr("trainer.service.daemon.HEARTBEAT_S", 0.2)
    monkeypatch.setattr("trainer.service.daemon.STATE_S", 0.1)
    monkeypatch.setattr("trainer.service.intake.FLUSH_S", 0.1)
    caplog.set_level("INFO", logger="trainer")
    await ensure_topics(settings.kafka, settings.topics)
    async with running(settings, GateLimits()) as daemon:
        await until(
            lambda: "the next rebuild starts after 2000 more mature examples, or at" in caplog.text
        )
        await publish(settings, traffic(0, 200))
        await until(lambda: "200 examples stored, lag 0, 200 new mature examples" in caplog.text)
        assert "the next rebuild starts after 1800 more mature examples, or at" in caplog.text
        assert sample(daemon, "weir_trainer_store_rows") == 200
        assert sample(daemon, "weir_trainer_waiting_examples") == 200
        assert (
            sample(daemon, "weir_trainer_lag", topic=settings.topics.examples, partition="1") == 0
        )
        now = sample(daemon, "weir_trainer_last_progress_timestamp_seconds")
        assert time.time() - 120 < now <= time.time()


@pytest.mark.broker
async def test_a_topic_made_anew_is_read_from_its_beginning(
    settings: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stored offset that is out of range is logged, and nothing of the new topic is lost."""
    monkeypatch.setattr("trainer.service.daemon.STATE_S", 0.2)
    await ensure_topics(settings.kafka, settings.topics)
    topics = settings.topics
    store = ExampleStore(settings.trainer.store, topics.examples, topics.outcomes)
    made, _ = traffic(9_000, 10)
    store.append(batch_of(example_rows(made), [], {0: 10_000, 1: 0}, {}), None)
    await publish(settings, traffic(0, 100))
    async with running(settings, GateLimits()) as daemon:
        await until(accepted(daemon, 100))
    assert (
        f"{settings.topics.examples}[0]@10000 is out of range: the topic was created again"
        in caplog.text
    )
    assert offsets(settings) == [50, 50]
