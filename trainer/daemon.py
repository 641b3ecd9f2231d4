"""The trainer daemon: examples in, artifacts out, announced when they pass their gates.

It consumes `training-examples` from where its store says, stores what comes, and rebuilds in a
child process while consumption goes on. A rebuild that fails is logged and tried again at the next
trigger; it never ends the daemon.
"""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import polars as pl
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from models.artifact import load_artifact
from models.connection import reach
from models.errors import UserError
from models.kafka import client_options, topic_partitions
from models.settings import Settings
from stream.records import ModelAnnouncement, RecordError, TrainingExample
from trainer.config import TrainConfig
from trainer.gates import GateLimits
from trainer.rebuild import RebuildJob, RebuildResult
from trainer.store import ExampleStore

logger = logging.getLogger(__name__)

FLUSH_ROWS: Final = 10_000
FLUSH_S: Final = 10.0
ANNOUNCEMENT_KEY: Final = b"default"
DEFAULT_LIMITS: Final = GateLimits()
Clock = Callable[[], float]


class TrainerDaemon:
    """Stores examples and rebuilds.

    Args:
        settings: All settings.
        clock: Seconds since the epoch.
        limits: Limits of the gates.

    Raises:
        SettingsError: If ``settings.training`` is no training configuration.
    """

    def __init__(
        self, settings: Settings, clock: Clock = time.time, limits: GateLimits = DEFAULT_LIMITS
    ) -> None:
        self._settings = settings
        self._config = TrainConfig.of(settings.training, quick=settings.trainer.quick)
        self._clock = clock
        self._limits = limits
        self._store = ExampleStore(settings.trainer.store, settings.task_set)
        self._buffer: list[TrainingExample] = []
        self._offsets: dict[int, int] = {}
        self._fresh = 0
        self._flushed_at = self._rebuilt_at = clock()
        self._serving = settings.model.artifact

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; what was consumed is stored then."""
        options = client_options(self._settings.kafka)
        consumer = AIOKafkaConsumer(
            **options, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        producer = AIOKafkaProducer(**options, acks="all")
        await consumer.start()
        await producer.start()
        rebuilding: asyncio.Task[None] | None = None
        try:
            await self._assign(consumer)
            while not stop.is_set():
                await self._consume(consumer)
                if (rebuilding is None or rebuilding.done()) and self._due():
                    self._flush()
                    rebuilding = asyncio.create_task(self._rebuild(producer))
            self._flush()
        finally:
            if rebuilding is not None:
                rebuilding.cancel()
                await asyncio.gather(rebuilding, return_exceptions=True)
            await producer.stop()
            await consumer.stop()

    async def _assign(self, consumer: AIOKafkaConsumer) -> None:
        """The offsets are the store's: no group, all partitions; and the announcements."""
        topics = self._settings.topics
        offsets = self._store.offsets
        found = await topic_partitions(self._settings.kafka, topics.examples)
        examples = found[topics.examples]
        if not examples:
            raise TopicMissingError(
                f"{topics.examples}: no such topic; `weir topics` creates the topics of Weir"
            )
        consumer.assign([*examples, TopicPartition(topics.models, 0)])
        for tp in examples:
            consumer.seek(tp, offsets.get(tp.partition, 0))
        consumer.seek(TopicPartition(topics.models, 0), 0)

    async def _consume(self, consumer: AIOKafkaConsumer) -> None:
        poll_ms = int(self._settings.trainer.poll_s * 1000)
        fetched = await consumer.getmany(timeout_ms=poll_ms)
        for tp, records in fetched.items():
            for record in records:
                where = f"{tp.topic}[{tp.partition}]@{record.offset}"
                try:
                    self._take(tp.topic, record.value)
                except RecordError as error:
                    logger.warning("%s: left out: %s", where, error)
            if tp.topic == self._settings.topics.examples:
                self._offsets[tp.partition] = records[-1].offset + 1
        waited = self._clock() - self._flushed_at
        if len(self._buffer) >= FLUSH_ROWS or (self._buffer and waited >= FLUSH_S):
            self._flush()

    def _take(self, topic: str, value: bytes | None) -> None:
        if topic == self._settings.topics.models:
            self._serving = ModelAnnouncement.from_bytes(value).url
            return
        example = TrainingExample.from_bytes(value)
        self._buffer.append(example)
        self._fresh += example.mature

    def _flush(self) -> None:
        if self._offsets:
            self._store.append(self._buffer, self._offsets)
        self._buffer = []
        self._offsets = {}
        self._flushed_at = self._clock()

    def _due(self) -> bool:
        trainer = self._settings.trainer
        late = self._clock() - self._rebuilt_at >= trainer.rebuild_period_s
        return self._fresh >= trainer.rebuild_examples or (late and self._fresh > 0)

    async def _rebuild(self, producer: AIOKafkaProducer) -> None:
        rows, self._fresh = self._fresh, 0
        self._rebuilt_at = self._clock()
        logger.info("rebuild begins: %d new examples", rows)
        try:
            result = await self._train()
        except Exception:
            logger.exception("rebuild failed; the next trigger tries again")
            return
        if result.url is None:
            why = "; ".join(result.refusals)
            logger.warning("candidate %s refused, kept aside: %s", result.version, why)
            return
        announcement = ModelAnnouncement(
            version=result.version,
            url=result.url,
            manifest_sha256=result.manifest_sha256,
            ts=int(self._clock() * 1000),
            metrics={"auc": result.auc},
        )
        models = self._settings.topics.models
        await producer.send_and_wait(
            models, announcement.to_bytes(), key=ANNOUNCEMENT_KEY, partition=0
        )
        self._serving = result.url
        logger.info("model %s announced: %s", result.version, result.url)

    async def _train(self) -> RebuildResult:
        created = datetime.fromtimestamp(self._clock(), UTC)
        folder = self._store.path / "rebuilds" / created.strftime("%Y%m%dT%H%M%S%f")
        folder.mkdir(parents=True)
        job = RebuildJob(
            examples=folder / "examples.parquet",
            serving=self._serving,
            tasks=self._settings.tasks,
            folder=folder / "candidate",
            registry=self._settings.model.registry,
            config=self._config,
            seed=self._settings.trainer.seed,
            created=created,
            limits=self._limits,
            log_format=self._settings.log.format,
        )
        await asyncio.to_thread(self._write_snapshot, job)
        (folder / "job.json").write_text(job.model_dump_json())
        await _run_child(folder)
        job.examples.unlink()
        return RebuildResult.model_validate_json((folder / "result.json").read_bytes())

    def _write_snapshot(self, job: RebuildJob) -> None:
        """All requests whose labels are known, each once, as the serving spec made them."""
        spec = load_artifact(job.serving).spec
        known = [pl.col(f"label_{task.name}").is_not_null() for task in job.tasks]
        frame = self._store.read(spec=spec.hash).filter(pl.all_horizontal(known))
        frame.write_parquet(job.examples)


class TopicMissingError(UserError, RuntimeError):
    """A topic that the trainer reads is not there."""


class RebuildError(RuntimeError):
    """A rebuild whose process failed; the message names its log."""


async def _run_child(folder: Path) -> None:
    log = folder / "log.txt"
    with log.open("wb") as out:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "trainer.rebuild"),
            *(str(folder / "job.json"), str(folder / "result.json")),
            stdout=out,
            stderr=out,
        )
        try:
            status = await child.wait()
        except asyncio.CancelledError:
            child.kill()
            await child.wait()
            raise
    if status != 0:
        last = log.read_text(errors="replace").strip().rpartition("\n")[2]
        raise RebuildError(f"the rebuild ended with status {status}: {last}; see {log}")


def run_trainer(settings: Settings) -> None:
    """Run the daemon until SIGTERM or SIGINT."""
    asyncio.run(_until_signal(settings))


async def _until_signal(settings: Settings) -> None:
    await reach(settings.kafka)  # before signals are handled: Ctrl-C ends a vain attempt
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await TrainerDaemon(settings).run(stop)
