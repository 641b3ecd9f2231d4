"""Watches the version that serves, and announces the one before if it does not keep its promises.

The first ``trainer.watch_rows`` requests that a version passes after its announcement are watched,
until all their labels are final. Each look runs in a process of its own
(:mod:`trainer.watch.look`), and the next one follows when a tenth more labels may be final. A
broken promise is announced once: the announcement of the version before is a rollback with the
evidence as its reason, and one that was announced as a rollback is not watched. So whatever
happens, two versions never take turns.
"""

import asyncio
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.artifact import ArtifactError
from models.artifact.registry import Registry
from models.bounds import MAX_REASON
from models.process.isolated import module_command
from models.process.threads import in_daemon_thread
from models.settings import Settings
from stream.messages import Cause, ModelAnnouncement
from stream.messages.model_history import ModelHistory
from stream.messages.models_topic import announce, announcer, read_history
from trainer.watch.look import LookJob, Published
from trainer.watch.metrics import WatchMetrics
from trainer.watch.verdict import STEP, Verdict, WatchLimits

logger = logging.getLogger(__name__)

PERIOD_S: Final = 20.0
"""Interval in which it is checked whether there is something to look at."""
GROWTH: Final = 1.1
"""A look follows when this many times the labels of the last one are final, of any task."""
Clock = Callable[[], float]
Look = Callable[[LookJob], Awaitable[Verdict]]


@dataclass(frozen=True, slots=True)
class Subject:
    """A version to watch.

    Attributes:
        announcement: Its announcement.
        ts: Time of the announcement, ms.
        before: What a rollback goes back to; None if nothing was announced before it.
    """

    announcement: ModelAnnouncement
    ts: int
    before: ModelAnnouncement | None


def subject_of(
    history: ModelHistory, usable: Callable[[ModelAnnouncement], bool]
) -> Subject | None:
    """The version to watch: the one that serves, unless a rollback brought it back.

    Args:
        history: All announcements.
        usable: Whether a worker could load an announced version.
    """
    serving = history.newest(usable)
    if serving is None or serving.announcement.goes_back:
        return None
    target = history.rollback_target(usable)
    before = None if target is None else target.announcement
    return Subject(serving.announcement, serving.ts, before)


class LookError(RuntimeError):
    """A look that failed; the message has the end of its log."""


class SwapWatch:
    """Looks at the serving version again and again, and takes it back if need be.

    Args:
        settings: All settings.
        metrics: Its metrics.
        labels_since: About the number of stored requests from a time on, ms since the epoch, whose
            label is final, by task.
        clock: Seconds since the epoch.
        look: Does a look; by default in a child process.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: WatchMetrics,
        labels_since: Callable[[int], Mapping[str, int]],
        clock: Clock = time.time,
        look: Look | None = None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._labels_since = labels_since
        self._clock = clock
        self._look = look or look_in_a_child
        self._registry = Registry.of(settings.model)
        self._watched: ModelAnnouncement | None = None
        self._looked_at: dict[str, int] = {}
        self._is_settled = False

    async def run(self) -> None:
        """Watch until it is cancelled; a failure is logged, counted and repeated."""
        while self._settings.trainer.watch_rows:
            await asyncio.sleep(PERIOD_S)
            try:
                await self.check()
            except Exception as error:  # noqa: BLE001 - the trainer goes on
                self._metrics.failed()
                logger.warning("the serving version was not looked at: %s", error)

    async def check(self) -> None:
        """Look at the serving version if that is due, and take it back if it breaks a promise."""
        history = await read_history(self._settings)
        subject = await in_daemon_thread(lambda: subject_of(history, self._usable))
        if subject is None or subject.announcement != self._watched:
            self._watched = None if subject is None else subject.announcement
            self._looked_at, self._is_settled = {}, False
            self._metrics.unwatched()
        if subject is None or self._is_settled:
            return
        labels = dict(self._labels_since(subject.ts))
        last = self._looked_at
        if not any(n >= last.get(task, 0) * GROWTH + STEP for task, n in labels.items()):
            return
        verdict = await self._look(self._job(subject))
        self._looked_at = labels
        self._metrics.verdict(verdict, stuck=bool(verdict.broken) and subject.before is None)
        if verdict.broken:
            await self._take_back(subject, verdict)
        elif verdict.final >= self._settings.trainer.watch_rows:
            self._is_settled = True
            logger.info(
                "model %s kept its promises over %d passed requests; the watch ends",
                *(subject.announcement.version, verdict.rows),
            )

    async def _take_back(self, subject: Subject, verdict: Verdict) -> None:
        """Announce the version before, unless another one serves by now.

        Raises:
            KafkaError: If no broker accepts it; the next look finds the same.
        """
        broken, version = verdict.broken[0], subject.announcement.version
        evidence = "; ".join(str(finding) for finding in verdict.broken)
        if subject.before is None:
            self._is_settled = True
            logger.error(
                "model %s breaks its promises and nothing was announced before it, so it serves "
                "on: %s; `weir model promote VERSION` chooses another version",
                *(version, evidence),
            )
            return
        history = await read_history(self._settings)
        newest = await in_daemon_thread(lambda: history.newest(self._usable))
        if newest is None or newest.announcement != subject.announcement:
            return
        back = subject.before
        await announce(
            self._settings,
            ModelAnnouncement(
                version=back.version,
                url=back.url,
                manifest_sha256=back.manifest_sha256,
                ts=int(self._clock() * 1000),
                metrics=back.metrics,
                by=announcer("trainer"),
                cause=Cause.AUTOMATIC_ROLLBACK,
                reason=f"after {broken.passed} passed requests: {evidence}"[:MAX_REASON],
                previous=version,
            ),
        )
        self._metrics.rolled_back(broken.promise)
        logger.error(
            "model %s is taken back after %d passed requests, %s serves again: %s",
            *(version, broken.passed, back.version, evidence),
        )

    def _usable(self, announcement: ModelAnnouncement) -> bool:
        """Whether workers could load an announced version."""
        try:
            files = self._registry.fetch(announcement.url, announcement.manifest_sha256)
        except ArtifactError:
            return False
        return files.manifest.task_set == self._settings.task_set

    def _job(self, subject: Subject) -> LookJob:
        settings, before = self._settings, subject.before
        trainer, feedback = settings.trainer, settings.feedback
        return LookJob(
            store=trainer.store,
            since_ms=subject.ts,
            most=trainer.watch_rows,
            model=settings.model,
            subject=_published(subject.announcement),
            before=Published(version="", url=settings.model.artifact, manifest_sha256="")
            if before is None
            else _published(before),
            tasks=settings.tasks,
            time_scale=feedback.time_scale,
            lateness_s=feedback.lateness_s,
            weights=settings.policy.weights,
            limits=WatchLimits(
                alpha=trainer.watch_alpha,
                calibration=trainer.watch_calibration,
                log_loss=trainer.watch_log_loss,
            ),
            log_format=settings.log.format,
        )


def _published(announcement: ModelAnnouncement) -> Published:
    return Published(
        version=announcement.version,
        url=announcement.url,
        manifest_sha256=announcement.manifest_sha256,
    )


async def look_in_a_child(job: LookJob) -> Verdict:
    """Do a look in a child process.

    Raises:
        LookError: If it fails.
    """
    with tempfile.TemporaryDirectory(prefix="weir-watch-") as temporary:
        folder = Path(temporary)
        (folder / "job.json").write_text(job.model_dump_json())
        arguments = str(folder / "job.json"), str(folder / "result.json")
        with (folder / "log.txt").open("wb") as out:
            child = await asyncio.create_subprocess_exec(
                *module_command("trainer.watch.look", *arguments), stdout=out, stderr=out
            )
            try:
                status = await child.wait()
            except asyncio.CancelledError:
                child.kill()
                await child.wait()
                raise
        if status != 0:
            last = (folder / "log.txt").read_text(errors="replace").strip().rpartition("\n")[2]
            raise LookError(f"the process ended with status {status}: {last[-500:]}")
        return Verdict.model_validate_json((folder / "result.json").read_bytes())
