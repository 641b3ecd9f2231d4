"""Rebuilds in a child process, one at a time, and announces candidates that pass.

A rebuild that is interrupted goes on: if the process is killed, it is started again with the same
job, up to :data:`MAX_ATTEMPTS` times in all; if the trainer is, the next one goes on from the same
checkpoint (:mod:`trainer.service.workspace`).
"""

import asyncio
import logging
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from aiokafka.errors import KafkaError

from models.artifact import Artifact
from models.features import FeatureSpec
from models.process.isolated import module_command
from models.process.parent import PARENT_VARIABLE
from models.process.threads import in_daemon_thread
from models.settings import ScenarioSettings, Settings
from stream.messages import Cause, ModelAnnouncement
from stream.messages.models_topic import announce, announcer, read_history
from trainer.gates.report import Verdict
from trainer.pipeline.incumbent import Incumbent
from trainer.pipeline.rebuild_job import KEPT_TEACHER, RebuildJob, RebuildResult
from trainer.service.metrics import TrainerMetrics
from trainer.service.retests import NewerLabels, Retests
from trainer.service.schedule import Reason, Trigger
from trainer.service.workspace import LastRebuild, Workspace, Workspaces
from trainer.store.example_store import ExampleStore
from trainer.store.locations import working_folder
from trainer.training.config import TrainConfig

logger = logging.getLogger(__name__)

ANNOUNCE_S: Final = 5.0
"""Delay before an announcement is retried."""
MAX_ATTEMPTS: Final = 5
"""Number of times that the process of one rebuild is started, restarts of the trainer included."""
DECISIVE: Final = (
    "store",
    "tasks",
    "time_scale",
    "lateness_s",
    "config",
    "seed",
    "most",
    "registry",
    "start",
)
"""Parts of a job that its candidate depends on."""
RETEST_LOOK_S: Final = 5.0
"""Interval in which held candidates are looked at."""
COMPARED: Final = ("serving", "serving_sha256", "registry", "limits", "policy", "reason")
"""Parts of a job that say what a candidate is compared with, and how."""
REBUILD: Final = "trainer.pipeline.rebuild"
RETEST: Final = "trainer.retest.run"
"""The modules of the processes."""
Clock = Callable[[], float]


class RebuildError(RuntimeError):
    """A rebuild process that failed; the message names its log."""


class Rebuilder:
    """Rebuilds from an example store.

    Args:
        settings: All settings.
        config: Configuration of the training.
        store: The examples to learn from.
        incumbent: Artifact that the candidate is compared with, and whose spec it keeps.
        metrics: Metrics of the trainer.
        clock: Seconds since the epoch.

    Attributes:
        spec: Feature spec of the last rebuild; None before the first.
        interrupted: The rebuild that the last trainer did not end; it is gone on with first.
    """

    def __init__(
        self,
        settings: Settings,
        config: TrainConfig,
        store: ExampleStore,
        incumbent: Incumbent,
        metrics: TrainerMetrics,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._config = config
        self._store = store
        self._incumbent = incumbent
        self.spec: FeatureSpec | None = None
        self._metrics = metrics
        self._clock = clock
        folder = working_folder(settings.trainer.store, settings.trainer.scratch)
        self._teacher = folder / KEPT_TEACHER
        scratch = Path(settings.trainer.scratch or folder / "scratch")
        self._workspaces = Workspaces(folder / "rebuilds", scratch)
        self._retests = Retests(settings, self._workspaces)
        self._held: Workspace | None = None
        self._look_s = 0.0
        self.interrupted = self._workspaces.interrupted()
        metrics.refused_in_row(self._workspaces.refused_in_row())

    @property
    def last(self) -> LastRebuild | None:
        """The last rebuild that began, of this trainer or one before; None without."""
        return self._workspaces.last()

    def resume(self) -> Trigger | None:
        """The reason to go on with an interrupted rebuild, None if there is none."""
        if self.interrupted is None:
            return None
        return Trigger(Reason.RESUMED, f"{self.interrupted.folder.name} was interrupted")

    def retest(self, newer: NewerLabels) -> Trigger | None:
        """The reason to try a held candidate again, None if there is none.

        Args:
            newer: Number of requests from a time on (ms) whose label is final, by task.
        """
        now_s = self._clock()
        if now_s < self._look_s:
            return None
        self._look_s = now_s + RETEST_LOOK_S
        self._held = self._retests.due(newer)
        if self._held is None:
            return None
        text = f"the candidate of {self._held.folder.name} was held, and newer labels are final"
        return Trigger(Reason.RETEST, text)

    async def rebuild(self, trigger: Trigger, watermark_ms: int | None) -> bool:
        """Rebuild, or try a held candidate again, and announce; False if a rebuild failed.

        Only cancellation is raised. A retest that fails is not repeated.

        Args:
            trigger: Why it starts.
            watermark_ms: Event time up to which the store has all outcomes.
        """
        began = self._clock()
        self._metrics.rebuild_started(trigger, began)
        logger.info("rebuild started, %s: %s", trigger.reason, trigger.text)
        retest = trigger.reason is Reason.RETEST
        result, version = "interrupted", ""
        workspace, self.interrupted = self.interrupted, None
        try:
            run = self._try_again if retest else self._run
            result, version = await run(workspace, trigger, watermark_ms)
        except Exception as error:  # noqa: BLE001 - logged and retried
            result = "failed"
            logger.warning("rebuild failed: %s: %s", type(error).__name__, error)
        finally:
            took = self._clock() - began
            self._metrics.rebuild_finished(trigger, result, version, self._clock(), took)
            self._metrics.refused_in_row(self._workspaces.refused_in_row())
            self._retests.refresh()
            logger.info("rebuild finished after %.0f s: %s", took, result)
        return retest or result != "failed"

    async def _run(
        self, interrupted: Workspace | None, trigger: Trigger, watermark_ms: int | None
    ) -> tuple[str, str]:
        """Run a rebuild to its end: how it ended, and its candidate.

        The scratch folder stays only if this is cancelled.
        """
        serving = await in_daemon_thread(self._incumbent.load)
        self.spec = serving.spec
        resumed = interrupted is not None and self._update(interrupted, serving)
        if interrupted is not None and resumed:
            workspace = interrupted
        else:
            workspace = self._workspaces.create(datetime.fromtimestamp(self._clock(), UTC))
            workspace.write_job(self._job(workspace, serving, trigger, watermark_ms))
        return await self._finish(workspace, serving, resumed=resumed)

    async def _try_again(
        self, _: Workspace | None, trigger: Trigger, watermark_ms: int | None
    ) -> tuple[str, str]:
        """Try the held candidate again, against what serves now; as :meth:`_run`."""
        workspace, self._held = self._held, None
        serving = await in_daemon_thread(self._incumbent.load)
        if workspace is None or watermark_ms is None:
            raise RebuildError("no held candidate is due")
        job = workspace.job()
        new = self._job(workspace, serving, trigger, job.watermark_ms)
        changes = {name: getattr(new, name) for name in COMPARED} | {"retest_ms": watermark_ms}
        workspace.begin_again(job.model_copy(update=changes))
        return await self._finish(workspace, serving, resumed=False)

    async def _finish(
        self, workspace: Workspace, serving: Artifact, *, resumed: bool
    ) -> tuple[str, str]:
        try:
            result = workspace.result() or await self._train(workspace)
            job = workspace.job()
            outcome = await self._conclude(result, serving, job.reason, again=resumed)
            if outcome == "published" and job.retest_ms is None:
                self._keep_teacher(workspace)
        except Exception as error:
            workspace.fail(error)
            raise
        workspace.end()
        return outcome, result.version

    def _keep_teacher(self, workspace: Workspace) -> None:
        """Keep the teacher of a published candidate, as the next one's warm start."""
        try:
            shutil.move(workspace.teacher, self._teacher)
        except OSError as error:
            logger.warning("%s: the teacher's weights are not kept: %s", self._teacher, error)

    def _update(self, workspace: Workspace, serving: Artifact) -> bool:
        """Compare an interrupted rebuild's candidate with what serves now; False if it is stale."""
        try:
            old = workspace.job()
        except (OSError, ValueError) as error:
            logger.warning("%s: %s; it is started over", workspace.job_file, error)
            workspace.end()
            return False
        reason = Trigger(Reason.RESUMED, old.reason)
        new = self._job(workspace, serving, reason, old.watermark_ms)
        changed = [name for name in DECISIVE if getattr(old, name) != getattr(new, name)]
        if changed:
            logger.warning(
                "%s: %s changed since it was interrupted; it is started over",
                *(workspace.folder, ", ".join(changed)),
            )
            workspace.end()
            return False
        kept = {"created": old.created, "retest_ms": old.retest_ms}
        workspace.write_job(new.model_copy(update=kept))
        return True

    def _job(
        self, workspace: Workspace, serving: Artifact, trigger: Trigger, watermark_ms: int | None
    ) -> RebuildJob:
        trainer = self._settings.trainer
        return RebuildJob(
            store=self._store.url,
            watermark_ms=watermark_ms,
            time_scale=self._settings.feedback.time_scale,
            lateness_s=self._settings.feedback.lateness_s,
            most=trainer.max_rebuild_rows,
            serving=serving.url,
            serving_sha256=serving.manifest_sha256,
            tasks=self._settings.tasks,
            folder=workspace.candidate,
            work=workspace.work,
            registry=self._settings.model,
            config=self._config,
            seed=trainer.seed,
            created=datetime.fromtimestamp(self._clock(), UTC),
            start=self._teacher if trainer.start == "warm" else None,
            reason=trigger.text,
            limits=trainer.gates,
            policy=self._policy(),
            log_format=self._settings.log.format,
        )

    def _policy(self) -> ScenarioSettings:
        """What the workers' settings say for all scenarios, without what differs between these."""
        shared = self._settings.policy.model_dump(include=set(ScenarioSettings.model_fields))
        return ScenarioSettings.model_validate(shared)

    async def _train(self, workspace: Workspace) -> RebuildResult:
        """Run the process until it has a result, and again if it is killed."""
        while True:
            attempt = workspace.count_attempt()
            status = await _run_child(workspace)
            result = workspace.result()
            if status == 0 and result is not None:
                return result
            last = workspace.log.read_text(errors="replace").strip().rpartition("\n")[2][-500:]
            ended = f"the process ended with status {status}: {last}; see {workspace.log}"
            if status >= 0 or attempt >= MAX_ATTEMPTS:
                raise RebuildError(ended)
            self._metrics.error("killed")
            logger.warning(
                "%s; it goes on from its checkpoint (attempt %d of %d)",
                *(ended, attempt + 1, MAX_ATTEMPTS),
            )

    async def _conclude(
        self, result: RebuildResult, serving: Artifact, reason: str, *, again: bool
    ) -> str:
        """Report the result, and announce a candidate that passed; how the rebuild ended."""
        self._metrics.gates(result.gates.gates)
        snapshot = result.snapshot
        for file, fault in snapshot.unreadable.items():
            self._metrics.error("file")
            logger.error("%s: skipped, rebuilds go on without its rows: %s", file, fault)
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
            verdict = "held" if result.gates.verdict is Verdict.HOLD else "refused"
            why = "; ".join(result.gates.refusals)
            logger.warning("candidate %s %s, its files are kept: %s", result.version, verdict, why)
            return verdict
        announcement = ModelAnnouncement(
            version=result.version,
            url=result.url,
            manifest_sha256=result.manifest_sha256,
            ts=int(self._clock() * 1000),
            metrics={"auc": result.auc},
            by=announcer("trainer"),
            cause=Cause.REBUILD,
            reason=f"{len(result.gates.gates)} gates passed; rebuilt for {reason}",
            previous=serving.manifest.version,
        )
        await self._announce(announcement, again=again)
        return "published"

    async def _announce(self, announcement: ModelAnnouncement, *, again: bool) -> None:
        """Publish an announcement, retrying until a broker accepts it.

        Args:
            announcement: The announcement.
            again: Whether the trainer was killed since, perhaps after this announcement.
        """
        version = announcement.version
        while True:
            try:
                if why_not := await self._why_not(version, again=again):
                    logger.warning("model %s is not announced: %s", version, why_not)
                    return
                await announce(self._settings, announcement)
            except (KafkaError, OSError) as error:
                self._metrics.error("announce")
                logger.warning("model %s is not announced yet, retrying: %r", version, error)
                await asyncio.sleep(ANNOUNCE_S)
            else:
                self._incumbent.announce(announcement)
                logger.info("model %s announced: %s", version, announcement.url)
                return

    async def _why_not(self, version: str, *, again: bool) -> str:
        """Why a version must not be announced by the trainer; "" if it may."""
        history = await read_history(self._settings)
        if version in history.faulty:
            return "it was taken back; `weir model promote` makes it serve all the same"
        if again and history.of(version) is not None:
            return "it had been"
        return ""


async def _run_child(workspace: Workspace) -> int:
    """Run the process to its end; its exit status, negative if a signal ended it."""
    module = REBUILD if workspace.job().retest_ms is None else RETEST
    with workspace.log.open("ab") as out:
        child = await asyncio.create_subprocess_exec(
            *module_command(module, str(workspace.job_file), str(workspace.result_file)),
            stdout=out,
            stderr=out,
            env={
                **os.environ,
                "TMPDIR": str(workspace.fresh_temporary()),
                PARENT_VARIABLE: str(os.getpid()),
            },
        )
        try:
            return await child.wait()
        except asyncio.CancelledError:
            child.kill()
            await child.wait()
            raise
