"""One look at a version that serves, in a process of its own.

``python -m trainer.watch.look JOB RESULT`` reads what passed since the swap from the store, scores
it with both versions, and writes the verdict; job and result are JSON files. So the daemon neither
keeps its memory nor waits for it.
"""

import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from models.artifact import ArtifactError, ArtifactFault, open_artifact
from models.artifact.registry import Registry
from models.artifact.scorer import Scorer
from models.artifact.trial import hold_trial
from models.process import logs
from models.process.logs import Format
from models.settings import ModelSettings
from models.tasks import Task, TaskSet
from trainer.store.windows import AttributionWindows
from trainer.watch.rows import read_watched, values_of
from trainer.watch.verdict import Verdict, WatchLimits, judge


class Published(BaseModel):
    """A version in the registry, as it was announced.

    Attributes:
        version: Name of the version; "" for the configured artifact.
        url: URL of its folder.
        manifest_sha256: Announced hash of its manifest; "" for the configured artifact.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    url: str
    manifest_sha256: str


class LookJob(BaseModel):
    """Job of a look.

    Attributes:
        store: URL of the store.
        since_ms: Time of the swap, ms since the epoch.
        most: Largest number of requests that are looked at, the first ones since then.
        model: Registry and keys.
        subject: The version that serves.
        before: The version before it.
        tasks: The tasks.
        time_scale: Divides every window.
        lateness_s: Time after a window in which its outcomes may still arrive.
        weights: Value of one event, by task.
        limits: What is promised.
        log_format: Log format of the process.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str
    since_ms: int
    most: int
    model: ModelSettings
    subject: Published
    before: Published
    tasks: tuple[Task, ...]
    time_scale: float
    lateness_s: float
    weights: dict[str, float]
    limits: WatchLimits
    log_format: Format = "text"


def look(job: LookJob) -> Verdict:
    """Judge the version that serves by all that is known of what it passed.

    Raises:
        ArtifactError: If one of the versions cannot be loaded, or they have different features.
        StoreError: If the store cannot be read.
    """
    tasks = TaskSet(job.tasks)
    windows = AttributionWindows(tasks, job.time_scale, job.lateness_s)
    subject, before = (_scorer(published, job) for published in (job.subject, job.before))
    if subject.artifact.spec.hash != before.artifact.spec.hash:
        raise ArtifactError(
            ArtifactFault.SPEC_MISMATCH,
            f"{job.subject.version} and {job.before.version} have different feature specs, so "
            "they cannot be compared on the same requests",
        )
    watched = read_watched(
        *(job.store, job.subject.version, job.since_ms, job.most),
        *(subject, before, windows, values_of(job.weights, tasks.names)),
    )
    return judge(watched, tasks, job.limits)


def _scorer(published: Published, job: LookJob) -> Scorer:
    registry = Registry.of(job.model)
    if published.manifest_sha256:
        files = registry.fetch(published.url, published.manifest_sha256)
    else:
        files = registry.fetch_configured(published.url)
    hold_trial(files)
    return Scorer(open_artifact(files))


def main() -> None:
    """Do the job of the file that the first argument names; write the result to the second."""
    job = LookJob.model_validate_json(Path(sys.argv[1]).read_bytes())
    logs.set_up(job.log_format)
    Path(sys.argv[2]).write_text(look(job).model_dump_json())


if __name__ == "__main__":
    main()
