"""Rebuilds in a child process, one at a time, and announces what passes."""

import asyncio
import logging
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from models.features import FeatureSpec
from models.process.isolated import module_command
from models.process.threads import in_daemon_thread
from models.settings import Settings
from stream.kafka.client import client_options
from stream.messages import ModelAnnouncement
from trainer.evaluation.gates import GateLimits
from trainer.pipeline.example_store import ExampleStore
from trainer.pipeline.incumbent import Incumbent
from trainer.pipeline.metrics import TrainerMetrics
from trainer.pipeline.rebuild_job import RebuildJob, RebuildResult
from trainer.training.config import TrainConfig

logger = logging.getLogger(__name__)

ANNOUNCEMENT_KEY: Final = b"default"
#: Folders of rebuilds that are kept, with log and refused candidate.
KEPT: Final = 10
#: Temporary folders of rebuilds begin like this; all of them go at the start.
TEMPORARY: Final = "rebuild-"
#: Between two tries to announce.
ANNOUNCE_S: Final = 5.0
Clock = Callable[[], float]


class RebuildError(RuntimeError):
    """A rebuild whose process failed; the message names its log."""


class Rebuilder:
    """Rebuilds from a store; everything temporary lies in the scratch folder and is cleared.

    Args:
        settings: All settings.
        config: How is trained.
        store: What is learned.
        incumbent: What the candidate is compared with, and whose spec it keeps.
        metrics: Where results are shown.
        clock: Seconds since the epoch.
        limits: Limits of the gates.

    Attributes:
        spec: The spec of the last rebuild; None before it.
    """

    def __init__(
        self,
        settings: Settings,
        config: TrainConfig,
        store: ExampleStore,
        incumbent: Incumbent,
        metrics: TrainerMetrics,
        clock: Clock,
        limits: GateLimits,
    ) -> None:
        self._settings = settings
        self._config = config
        self._store = store
        self._incumbent = incumbent
        self.spec: FeatureSpec | None = None
        self._metrics = metrics
        self._clock = clock
        self._limits = limits
        self._scratch = Path(settings.trainer.scratch or store.path / "scratch")
        self._folders = store.path / "rebuilds"
        self._clear_scratch()  # what a trainer that was killed left behind

    async def rebuild(self) -> bool:
        """Rebuild and announce; False if that failed. Never raises, but for a cancellation."""
        began = self._clock()
        self._metrics.began()
        logger.info("rebuild begins: %d examples in the store", self._store.rows)
        result = "failed"
        try:
            result = await self._rebuild(began)
        except Exception as error:  # noqa: BLE001 - logged, and tried again
            logger.warning("rebuild failed: %s: %s", type(error).__name__, error)
        finally:
            self._clear_scratch()
            took = self._clock() - began
            self._metrics.ended(result, self._clock(), took)
            logger.info("rebuild ended after %.0f s: %s", took, result)
        return result != "failed"

    async def _rebuild(self, began: float) -> str:
        result = await self._train(datetime.fromtimestamp(began, UTC))
        self._metrics.gates(result.verdicts)
        snapshot = result.snapshot
        for part, reason in snapshot.unreadable.items():
            self._metrics.error("part")
            self._store.set_aside(part, f"{part}: {reason}")
        if snapshot.too_many:
            logger.warning(
                "learned from the newest %d requests; %d older ones were left out "
                "(trainer.max_rebuild_rows)",
                *(snapshot.rows, snapshot.too_many),
            )
        if snapshot.unfit:
            logger.warning("%d stored examples have features of another kind", snapshot.unfit)
        if result.url is None:
            why = "; ".join(result.refusals)
            logger.warning("candidate %s refused, kept aside: %s", result.version, why)
            return "refused"
        await self._announce(result, result.url)
        return "published"

    async def _announce(self, result: RebuildResult, url: str) -> None:
        """Tell the workers, again until a broker takes it."""
        announcement = ModelAnnouncement(
            version=result.version,
            url=url,
            manifest_sha256=result.manifest_sha256,
            ts=int(self._clock() * 1000),
            metrics={"auc": result.auc},
        )
        while True:
            try:
                await self._send(announcement.to_bytes())
            except KafkaError as error:
                self._metrics.error("announce")
                logger.warning("model %s is not announced yet: %r", result.version, error)
                await asyncio.sleep(ANNOUNCE_S)
            else:
                self._incumbent.announce(announcement)
                logger.info("model %s announced: %s", result.version, url)
                return

    async def _send(self, value: bytes) -> None:
        producer = AIOKafkaProducer(**client_options(self._settings.kafka), acks="all")
        try:
            await producer.start()
            await producer.send_and_wait(
                self._settings.topics.models, value, key=ANNOUNCEMENT_KEY, partition=0
            )
        finally:
            await producer.stop()

    async def _train(self, created: datetime) -> RebuildResult:
        serving = await in_daemon_thread(self._incumbent.load)
        self.spec = serving.spec
        self._prune()
        stamp = created.strftime("%Y%m%dT%H%M%S%f")
        folder, temporary = self._folders / stamp, self._scratch / f"{TEMPORARY}{stamp}"
        folder.mkdir(parents=True)
        temporary.mkdir(parents=True)
        job = RebuildJob(
            parts=tuple(self._store.parts),
            most=self._settings.trainer.max_rebuild_rows,
            serving=serving.url,
            serving_sha256=serving.manifest_sha256,
            tasks=self._settings.tasks,
            folder=folder / "candidate",
            registry=self._settings.model.registry,
            config=self._config,
            seed=self._settings.trainer.seed,
            created=created,
            limits=self._limits,
            log_format=self._settings.log.format,
        )
        (folder / "job.json").write_text(job.model_dump_json())
        await _run_child(folder, temporary.resolve())
        return RebuildResult.model_validate_json((folder / "result.json").read_bytes())

    def _prune(self) -> None:
        """Remove the oldest rebuilds' folders; a rebuild every few minutes must not fill a disk."""
        for folder in sorted(self._folders.glob("*"))[: -(KEPT - 1)]:
            shutil.rmtree(folder, ignore_errors=True)

    def _clear_scratch(self) -> None:
        for folder in self._scratch.glob(f"{TEMPORARY}*"):
            shutil.rmtree(folder, ignore_errors=True)


async def _run_child(folder: Path, temporary: Path) -> None:
    log = folder / "log.txt"
    with log.open("wb") as out:
        child = await asyncio.create_subprocess_exec(
            *module_command(
                "trainer.pipeline.rebuild", str(folder / "job.json"), str(folder / "result.json")
            ),
            stdout=out,
            stderr=out,
            env=os.environ | {"TMPDIR": str(temporary)},
        )
        try:
            status = await child.wait()
        except asyncio.CancelledError:
            child.kill()
            await child.wait()
            raise
    if status != 0:
        last = log.read_text(errors="replace").strip().rpartition("\n")[2][-500:]
        raise RebuildError(f"the process ended with status {status}: {last}; see {log}")
