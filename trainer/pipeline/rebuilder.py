"""Rebuilds in a child process, one at a time, and announces candidates that pass."""

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
from models.settings import ScenarioSettings, Settings
from stream.kafka.client import client_options
from stream.messages import ModelAnnouncement
from trainer.gates.report import GateLimits, Verdict
from trainer.pipeline.example_store import ExampleStore
from trainer.pipeline.incumbent import Incumbent
from trainer.pipeline.metrics import TrainerMetrics
from trainer.pipeline.rebuild_job import RebuildJob, RebuildResult
from trainer.training.config import TrainConfig

logger = logging.getLogger(__name__)

ANNOUNCEMENT_KEY: Final = b"default"
KEPT: Final = 10
"""Number of rebuild folders that are kept, with log and refused candidate."""
TEMPORARY: Final = "rebuild-"
"""Prefix of the rebuilds' temporary folders, all of which are removed at the start."""
ANNOUNCE_S: Final = 5.0
"""Delay before an announcement is retried."""
Clock = Callable[[], float]


class RebuildError(RuntimeError):
    """A rebuild process that failed; the message names its log."""


class Rebuilder:
    """Rebuilds from an example store; temporary files lie in the scratch folder and are removed.

    Args:
        settings: All settings.
        config: Configuration of the training.
        store: The examples to learn from.
        incumbent: Artifact that the candidate is compared with, and whose spec it keeps.
        metrics: Metrics of the trainer.
        clock: Seconds since the epoch.
        limits: Limits of the gates.

    Attributes:
        spec: Feature spec of the last rebuild; None before the first.
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
        self._clear_scratch()  # left behind by a trainer that was killed

    async def rebuild(self) -> bool:
        """Rebuild and announce; False if that failed. Only cancellation is raised."""
        began = self._clock()
        self._metrics.rebuild_started()
        logger.info("rebuild started: %d examples in the store", self._store.rows)
        result = "failed"
        try:
            result = await self._rebuild(began)
        except Exception as error:  # noqa: BLE001 - logged and retried
            logger.warning("rebuild failed: %s: %s", type(error).__name__, error)
        finally:
            self._clear_scratch()
            took = self._clock() - began
            self._metrics.rebuild_finished(result, self._clock(), took)
            logger.info("rebuild finished after %.0f s: %s", took, result)
        return result != "failed"

    async def _rebuild(self, began: float) -> str:
        result = await self._train(datetime.fromtimestamp(began, UTC))
        self._metrics.gates(result.gates.gates)
        snapshot = result.snapshot
        for part, reason in snapshot.unreadable.items():
            self._metrics.error("part")
            self._store.quarantine(part, f"{part}: {reason}")
        if snapshot.too_many:
            logger.warning(
                "learned from the newest %d requests; %d older ones are over the limit "
                "trainer.max_rebuild_rows",
                *(snapshot.rows, snapshot.too_many),
            )
        if snapshot.unfit:
            logger.warning(
                "skipped %d stored examples: their features do not fit the serving spec",
                snapshot.unfit,
            )
        if result.url is None:
            held = result.gates.verdict is Verdict.HOLD
            verdict = "held" if held else "refused"
            why = "; ".join(result.gates.refusals)
            logger.warning("candidate %s %s, its files are kept: %s", result.version, verdict, why)
            return verdict
        await self._announce(result, result.url)
        return "published"

    async def _announce(self, result: RebuildResult, url: str) -> None:
        """Publish the announcement; retry until a broker accepts it."""
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
                logger.warning("model %s is not announced yet, retrying: %r", result.version, error)
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
            policy=self._policy(),
            log_format=self._settings.log.format,
        )
        (folder / "job.json").write_text(job.model_dump_json())
        await _run_child(folder, temporary.resolve())
        return RebuildResult.model_validate_json((folder / "result.json").read_bytes())

    def _policy(self) -> ScenarioSettings:
        """What the workers' settings say for all scenarios, without what differs between these."""
        shared = self._settings.policy.model_dump(include=set(ScenarioSettings.model_fields))
        return ScenarioSettings.model_validate(shared)

    def _prune(self) -> None:
        """Remove the oldest rebuild folders: frequent rebuilds must not fill the disk."""
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
