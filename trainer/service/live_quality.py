"""Measures live quality at an interval, in a child process, and raises the drift alarm."""

import asyncio
import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from models.process.isolated import module_command
from models.process.parent import PARENT_VARIABLE
from models.process.threads import in_daemon_thread
from models.settings import Settings
from trainer.pipeline.incumbent import Incumbent
from trainer.quality.figures import Quality
from trainer.quality.job import QualityJob, QualityResult, files_of
from trainer.service.metrics import TrainerMetrics
from trainer.service.quality_metrics import most_drifted
from trainer.store.locations import working_folder

logger = logging.getLogger(__name__)

MAX_S: Final = 1800.0
"""A process that takes longer is ended."""
SCRATCH: Final = "quality-"
"""Prefix of the temporary folders."""
Clock = Callable[[], float]
Alarm = Callable[[str, str | None], None]


class LiveQuality:
    """The live quality of what serves.

    Args:
        settings: All settings.
        incumbent: What serves.
        metrics: Metrics of the trainer.
        clock: Seconds since the epoch.
        watermark_ms: The watermark of the store; None before the first request.
        alarm: Called with the model's version, and what has drifted, or None if nothing has.
    """

    def __init__(
        self,
        settings: Settings,
        incumbent: Incumbent,
        metrics: TrainerMetrics,
        clock: Clock,
        watermark_ms: Callable[[], int | None],
        alarm: Alarm,
    ) -> None:
        self._settings = settings
        self._incumbent = incumbent
        self._metrics = metrics
        self._clock = clock
        self._watermark_ms = watermark_ms
        self._alarm = alarm
        trainer = settings.trainer
        folder = working_folder(trainer.store, trainer.scratch)
        self._scratch = Path(trainer.scratch or folder / "scratch")
        for left in self._scratch.glob(f"{SCRATCH}*"):  # by a trainer that was killed
            shutil.rmtree(left, ignore_errors=True)

    async def run(self) -> None:
        """Measure at the interval until it is cancelled; failures are logged and counted."""
        while True:
            await asyncio.sleep(self._settings.trainer.quality_period_s)
            try:
                await self.measure()
            except Exception as error:  # noqa: BLE001 - measured again at the next interval
                self._metrics.error("quality")
                logger.warning("live quality is not measured: %s: %s", type(error).__name__, error)

    async def measure(self) -> None:
        """Measure once, and report it.

        Raises:
            ArtifactError: If what serves cannot be loaded.
            RuntimeError: If the process failed; with the end of its output.
            TimeoutError: If it took too long.
        """
        watermark_ms = self._watermark_ms()
        if watermark_ms is None:
            return
        serving = await in_daemon_thread(self._incumbent.load)
        settings = self._settings
        job = QualityJob(
            store=settings.trainer.store,
            watermark_ms=watermark_ms,
            time_scale=settings.feedback.time_scale,
            lateness_s=settings.feedback.lateness_s,
            tasks=settings.tasks,
            artifact=serving.url,
            artifact_sha256=serving.manifest_sha256,
            most=settings.trainer.quality_rows,
            values=settings.policy.weights,
            scenarios=tuple(settings.policy.scenarios),
            log_format=settings.log.format,
        )
        self._scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=self._scratch) as temporary:
            result = await _run_child(Path(temporary), job)
        for file, reason in result.unreadable.items():
            self._metrics.error("file")
            logger.error("%s: cannot be read: %s", file, reason)
        drift = drifted(result.quality, settings.trainer.drift_alarm)
        self._metrics.quality.measured(result.quality, self._clock(), alarm=drift is not None)
        if drift is not None:
            logger.warning("drift against the training of %s: %s", result.quality.version, drift)
        self._alarm(result.quality.version, drift)


def drifted(quality: Quality, limit: float) -> str | None:
    """What has a PSI above a limit, as a sentence; None if nothing has."""
    scores = [(f"scores of {task}", psi) for task, psi in quality.score_psi.items()]
    above = [(name, psi) for name, psi in [*most_drifted(quality), *scores] if psi > limit]
    if not above:
        return None
    name, psi = max(above, key=lambda each: each[1])
    others = f" and of {len(above) - 1} others" if len(above) > 1 else ""
    return f"PSI {psi:.2f} of {name}{others}"


async def _run_child(folder: Path, job: QualityJob) -> QualityResult:
    job_file, result_file = files_of(folder)
    job_file.write_text(job.model_dump_json())
    child = await asyncio.create_subprocess_exec(
        *module_command("trainer.quality.run", str(job_file), str(result_file)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TMPDIR": str(folder), PARENT_VARIABLE: str(os.getpid())},
    )
    try:
        output, _ = await asyncio.wait_for(child.communicate(), MAX_S)
    except (asyncio.CancelledError, TimeoutError):
        child.kill()
        await child.wait()
        raise
    if child.returncode != 0:
        last = output.decode(errors="replace").strip().rpartition("\n")[2][-500:]
        raise RuntimeError(f"the process ended with status {child.returncode}: {last}")
    return QualityResult.model_validate_json(result_file.read_bytes())
