"""Measures the live quality of what serves: ``python -m trainer.quality.run JOB RESULT``.

It runs in a child process of the daemon, with bounded memory: of each slice of time, at most so
many requests are joined with their outcomes and scored.
"""

import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from models.artifact import ArtifactFiles, fetch_artifact, open_artifact
from models.artifact.reference import REFERENCE_FILE, Reference, ReferenceFileError, TableCounts
from models.artifact.scorer import Scorer
from models.features import FeatureSpec
from models.process import logs
from models.process.atomic import write_atomically
from models.process.parent import end_with_parent
from models.tasks import TaskSet
from stream.policy.scenario_index import ScenarioIndex
from trainer.quality.figures import Quality
from trainer.quality.job import QualityJob, QualityResult, slices
from trainer.quality.measure import LiveRows, measure_reasons, measure_tasks
from trainer.quality.scenarios import measure_scenarios
from trainer.store.snapshot import write_snapshot
from trainer.store.windows import AttributionWindows

logger = logging.getLogger(__name__)

CHUNK = 8192
"""Rows that are read and scored at once."""
MIN_ROWS = 1000
"""Requests without which no drift is measured: PSI of few is mostly noise."""
Scores = npt.NDArray[np.float32]


def measure(job: QualityJob) -> QualityResult:
    """Measure what the job names.

    Raises:
        ArtifactError: If the serving artifact cannot be loaded.
        StoreError: If the store cannot be read.
    """
    files = fetch_artifact(job.artifact, job.artifact_sha256)
    artifact = open_artifact(files)
    tasks = TaskSet(job.tasks)
    windows = AttributionWindows(tasks, job.time_scale, job.lateness_s)
    scorer = Scorer(artifact)
    unreadable: dict[str, str] = {}
    parts: list[pl.DataFrame] = []
    scores: list[Scores] = []
    newest = TableCounts(artifact.spec)
    for last_hour in slices(windows, job.watermark_ms):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "slice"
            snapshot = write_snapshot(
                job.store,
                folder,
                artifact.spec,
                windows,
                job.most,
                job.watermark_ms,
                last_hour,
            )
            unreadable |= snapshot.unreadable
            table = newest if last_hour is None else TableCounts(artifact.spec)
            part, scores_NT = _score(folder, scorer, artifact.spec, table)
        parts.append(part)
        scores.append(scores_NT)
    feature_psi, score_psi = _drift(files, newest, scores[0], artifact.tasks)
    frame = pl.concat(parts)
    first = frame["request_id"].is_first_distinct().to_numpy()
    rows = live_rows(frame, windows, job.watermark_ms).take(first)
    scores_NT = np.concatenate(scores)[first]
    learned_until_ms = artifact.manifest.training.ts_max
    quality = Quality(
        version=artifact.manifest.version,
        rows=len(rows),
        tasks=measure_tasks(rows, scores_NT, tasks, learned_until_ms),
        reasons=measure_reasons(rows, tasks, job.values),
        scenarios=measure_scenarios(
            rows, scores_NT, tasks, learned_until_ms, job.values, ScenarioIndex(job.scenarios)
        ),
        feature_psi=feature_psi,
        score_psi=score_psi,
    )
    return QualityResult(quality=quality, unreadable=unreadable)


def _score(
    folder: Path, scorer: Scorer, spec: FeatureSpec, table: TableCounts
) -> tuple[pl.DataFrame, Scores]:
    """Rows of a snapshot without their features, and their scores; the ids are counted."""
    lazy = pl.scan_parquet(folder / "*.parquet")
    total: int = lazy.select(pl.len()).collect().item()
    kept = [name for name in lazy.collect_schema().names() if name != "features"]
    scores: list[Scores] = [np.empty((0, len(scorer.artifact.tasks)), np.float32)]
    for start in range(0, total, CHUNK):
        chunk = lazy.select("features", "weight").slice(start, CHUNK).collect()
        ids_NC = chunk["features"].explode().to_numpy().reshape(len(chunk), spec.columns)
        table.add(ids_NC, chunk["weight"].to_numpy())
        scores.append(scorer.score(ids_NC.astype(np.int32))[0])
    return lazy.select(kept).collect(), np.concatenate(scores)


def live_rows(frame: pl.DataFrame, windows: AttributionWindows, watermark_ms: int) -> LiveRows:
    """The rows of a snapshot as arrays."""
    ts_N = frame["ts"].to_numpy()
    names, tasks = windows.names, range(len(windows.names))
    return LiveRows(
        ts_N=ts_N,
        labels_NT=_columns(frame, [f"label_{name}" for name in names]).astype(np.float32),
        final_NT=np.stack(
            [ts_N < windows.final_before(task, watermark_ms) for task in tasks], axis=1
        ),
        delay_NT=_columns(frame, [f"delay_{name}" for name in names]),
        weight_N=frame["weight"].to_numpy(),
        reason_N=frame["reason"].to_numpy().astype(np.str_),
        scenario_N=frame["scenario"].to_numpy(),
    )


def _columns(frame: pl.DataFrame, names: list[str]) -> npt.NDArray[np.float64]:
    columns = [frame[name].cast(pl.Float64).fill_null(float("nan")).to_numpy() for name in names]
    return np.stack(columns, axis=1)


def _drift(
    files: ArtifactFiles, table: TableCounts, scores_NT: Scores, tasks: TaskSet
) -> tuple[dict[str, float], dict[str, float]]:
    """PSI of features and of scores; empty without a reference, or with too few requests."""
    content = files.contents.get(REFERENCE_FILE)
    if content is None or table.rows < MIN_ROWS:
        return {}, {}
    try:
        reference = Reference.from_bytes(content)
        return reference.feature_psi(table), reference.score_psi(scores_NT, tasks)
    except ReferenceFileError as error:
        logger.warning("%s: drift is not measured: %s", files.url, error)
        return {}, {}


def main() -> None:
    """Run the job of the file that the first argument names; write the result to the second."""
    end_with_parent()
    job = QualityJob.model_validate_json(Path(sys.argv[1]).read_bytes())
    logs.set_up(job.log_format)
    write_atomically(Path(sys.argv[2]), measure(job).model_dump_json().encode())


if __name__ == "__main__":
    main()
