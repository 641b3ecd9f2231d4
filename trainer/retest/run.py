"""Tries a held candidate again: ``python -m trainer.retest.run JOB RESULT``.

A child process of the daemon, as a rebuild is, and with the same kind of job and result. If it is
killed before its verdict, the next one tries the candidate once more, at the next level; a verdict
that was written is kept.
"""

import logging
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from models.artifact import Artifact, load_artifact
from models.process import logs
from models.process.atomic import write_atomically
from models.process.parent import end_with_parent
from models.tasks import TaskSet
from trainer.gates.report import GateReport, Verdict
from trainer.pipeline.rebuild import publish_if_passed
from trainer.pipeline.rebuild_job import RebuildJob, RebuildResult
from trainer.pipeline.trial import compare, decided
from trainer.retest.evidence import NewerRows
from trainer.store.snapshot import write_snapshot
from trainer.store.windows import AttributionWindows

logger = logging.getLogger(__name__)


def retest(job: RebuildJob) -> RebuildResult:
    """Try the candidate of a job on newer requests; publish it if it passes.

    Args:
        job: The job, with ``retest_ms``.

    Raises:
        ArtifactError: If the candidate or the serving artifact cannot be loaded.
        ExampleError: If there is no newer request.
        LedgerError: If the ledger of trials is damaged.
        RegistryError: If the candidate cannot be published.
        ValueError: If the job is none of a retest.
    """
    if job.retest_ms is None:
        raise ValueError(f"{job.folder}: retest_ms is not set; this is the job of a rebuild")
    serving = load_artifact(job.serving, job.serving_sha256)
    candidate = load_artifact(job.folder)
    windows = AttributionWindows(TaskSet(job.tasks), job.time_scale, job.lateness_s)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rows = folder / "snapshot"
        snapshot = write_snapshot(job.store, rows, serving.spec, windows, job.most, job.retest_ms)
        before = decided(candidate, serving, job.folder)
        if before is not None and before.verdict is Verdict.PASS:  # by a retest that was killed
            report = before
        else:
            report = _try(job, windows, rows, serving, candidate, folder)
    return publish_if_passed(job, snapshot, report, candidate)


def _try(
    job: RebuildJob,
    windows: AttributionWindows,
    snapshot: Path,
    serving: Artifact,
    candidate: Artifact,
    folder: Path,
) -> GateReport:
    newer = NewerRows(
        spec=serving.spec,
        tasks=TaskSet(job.tasks),
        windows=windows,
        watermark_ms=job.retest_ms or 0,
        after_ms=max(model.manifest.training.ts_max for model in (candidate, serving)),
        propensity_clip=job.config.propensity_clip,
    )
    held_out = newer.read(snapshot, np.load(job.seen_file), folder)
    logger.info(
        "%s is tried again, on %d newer requests",
        *(candidate.manifest.version, len(held_out.ids_NC)),
    )
    return compare(job, held_out, serving, candidate)


def main() -> None:
    """Run the job of the file that the first argument names; write the result to the second."""
    end_with_parent()
    job = RebuildJob.model_validate_json(Path(sys.argv[1]).read_bytes())
    logs.set_up(job.log_format)
    result = retest(job)
    write_atomically(Path(sys.argv[2]), result.model_dump_json().encode())
    if result.url is not None:
        shutil.rmtree(job.folder)


if __name__ == "__main__":
    main()
