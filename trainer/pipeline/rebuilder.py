"""Rebuilds in a child process, one at a time, and announces candidates that pass."""

import asyncio
import logging
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from aiokafka.errors import KafkaError

from models.features import FeatureSpec
from models.process.isolated import module_command
from models.process.threads import in_daemon_thread
from models.settings import Settings
from stream.messages import Cause, ModelAnnouncement
from stream.messages.models_topic import announce, announcer
from trainer.evaluation.gates import GateLimits
from trainer.pipeline.incumbent import Incumbent
from trainer.pipeline.metrics import TrainerMetrics
from trainer.pipeline.rebuild_job import RebuildJob, RebuildResult
from trainer.store.example_store import ExampleStore
from trainer.store.locations import working_folder
from trainer.training.config import TrainConfig

logger = logging.getLogger(__name__)

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
        self._previous: str | None = None
        self._metrics = metrics
        self._clock = clock
        self._limits = limits
        folder = working_folder(settings.trainer.store, settings.trainer.scratch)
        self._scratch = Path(settings.trainer.scratch or folder / "scratch")
        self._folders = folder / "rebuilds"
        self._clear_scratch()  # left behind by a trainer that was killed

    async def rebuild(self, watermark_ms: int | None) -> bool:
        """Rebuild and announce; False if that failed. Only cancellation is raised.

        Args:
            watermark_ms: Event time up to which the store has all outcomes.
        """
        began = self._clock()
        self._metrics.rebuild_started()
        logger.info("rebuild started: %d examples in the store", self._store.rows)
        result = "failed"
        try:
            result = await self._rebuild(began, watermark_ms)
        except Exception as error:  # noqa: BLE001 - logged and retried
            logger.warning("rebuild failed: %s: %s", type(error).__name__, error)
        finally:
            self._clear_scratch()
            took = self._clock() - began
            self._metrics.rebuild_finished(result, self._clock(), took)
            logger.info("rebuild finished after %.0f s: %s", took, result)
        return result != "failed"

    async def _rebuild(self, began: float, watermark_ms: int | None) -> str:
        result = await self._train(datetime.fromtimestamp(began, UTC), watermark_ms)
        self._metrics.gates(result.verdicts)
        snapshot = result.snapshot
        for file, reason in snapshot.unreadable.items():
            self._metrics.error("file")
            logger.error("%s: skipped, rebuilds go on without its rows: %s", file, reason)
        if snapshot.too_many:
            logger.warning(
                "learned from the newest %d requests; %d older examples are over the limit "
                "trainer.max_rebuild_rows",
                *(snapshot.rows, snapshot.too_many),
            )
        if snapshot.unfit:
            logger.warning(
                "skipped %d stored examples: their features do not fit the serving spec",
                snapshot.unfit,
            )
        if result.url is None:
            why = "; ".join(result.refusals)
            logger.warning("candidate %s refused, its files are kept: %s", result.version, why)
            return "refused"
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
            by=announcer("trainer"),
            cause=Cause.REBUILD,
            reason=f"{len(result.verdicts)} gates passed",
            previous=self._previous,
        )
        while True:
            try:
                await announce(self._settings, announcement)
            except KafkaError as error:
                self._metrics.error("announce")
                logger.warning("model %s is not announced yet, retrying: %r", result.version, error)
                await asyncio.sleep(ANNOUNCE_S)
            else:
                self._incumbent.announce(announcement)
                logger.info("model %s announced: %s", result.version, url)
                return

    async def _train(self, created: datetime, watermark_ms: int | None) -> RebuildResult:
        serving = await in_daemon_thread(self._incumbent.load)
        self.spec = serving.spec
        self._previous = serving.manifest.version
        self._prune()
        stamp = created.strftime("%Y%m%dT%H%M%S%f")
        folder, temporary = self._folders / stamp, self._scratch / f"{TEMPORARY}{stamp}"
        folder.mkdir(parents=True)
        temporary.mkdir(parents=True)
        job = RebuildJob(
            store=self._store.url,
            watermark_ms=watermark_ms,
            time_scale=self._settings.feedback.time_scale,
            lateness_s=self._settings.feedback.lateness_s,
            most=self._settings.trainer.max_rebuild_rows,
            serving=serving.url,
            serving_sha256=serving.manifest_sha256,
            tasks=self._settings.tasks,
            folder=folder / "candidate",
            registry=self._settings.model,
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
