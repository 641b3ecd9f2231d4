"""Live quality of a small store, from its snapshots to the figures."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from models.artifact import load_artifact, write_artifact
from models.artifact.manifest import sha256
from models.artifact.reference import REFERENCE_FILE, Reference, TableCounts
from models.artifact.scorer import Scorer
from models.features import FeatureSpec
from models.process.isolated import module_command
from models.tasks import Task, TaskSet
from stream.messages import Decision, Outcome, Reason, TrainingExample
from stream.policy.scenario_index import scenario_row
from tests.tiny_artifact import SPEC_TEXT, tiny_manifest, tiny_student
from tests.trainer.store.rows import START, append, store_at
from trainer.quality.job import QualityJob, QualityResult, slices
from trainer.quality.run import measure
from trainer.store.schemas import hour_of
from trainer.store.windows import AttributionWindows

HOUR = 3_600_000
TASKS = TaskSet(
    [
        Task(name="click", window_s=600),
        Task(name="online", population="click", window_s=3 * 3600),
    ]
)
SPEC = FeatureSpec.parse(SPEC_TEXT, "test")
ROWS = 1500


def drawn(seed: int, rows: int, shift: int) -> np.ndarray:
    """Ids of requests: a site of eight, two segments of sixteen."""
    rng = np.random.default_rng(seed)
    site_N = np.minimum(rng.integers(1, 5, rows) + shift, 7)
    return np.stack([site_N, *rng.integers(9, 24, (2, rows))], axis=1).astype(np.int32)


def scores(ids_NC: np.ndarray) -> np.ndarray:
    """The tiny student's scores of both tasks."""
    return 1 / (1 + np.exp(-0.1 * ids_NC.sum(axis=1)))


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """The tiny artifact, with a reference of requests without a shift."""
    table = TableCounts(SPEC)
    ids_NC = drawn(0, 5_000, 0)
    table.add(ids_NC, np.ones(len(ids_NC)))
    student = tiny_student().SerializeToString()
    contents = {"student.onnx": student, "features.toml": SPEC_TEXT.encode()}
    folder = tmp_path / "artifact"
    write_artifact(folder, tiny_manifest(contents), contents)
    scores_NT, _ = Scorer(load_artifact(folder)).score(ids_NC)
    contents[REFERENCE_FILE] = Reference.of(table, SPEC, scores_NT, TASKS).to_bytes()
    write_artifact(folder, tiny_manifest(contents), contents)
    return folder


def fill(folder: Path, *, shift: int) -> int:
    """Six hours of requests whose clicks and onlines follow the scores; returns the watermark."""
    store = store_at(folder)
    rng = np.random.default_rng(5)
    for hour in range(6):
        ids_NC = drawn(hour + 1, ROWS, shift)
        made, outcomes = [], []
        for number, (ids, score) in enumerate(zip(ids_NC.tolist(), scores(ids_NC), strict=True)):
            ts, rid = START + hour * HOUR + number * 2000, f"{hour}-{number}"
            reason = Reason.EXPLORE if number % 10 == 0 else Reason.SCORE
            decision = Decision("v1", 0.5, None, reason, 1.0, 7)
            shop = scenario_row("shop") if number % 3 == 0 else scenario_row("unnamed")
            made.append(TrainingExample(rid, ts, SPEC.hash, ids, decision, 1.0, shop))
            if rng.random() < score:
                outcomes.append(Outcome(rid, "click", ts + 60_000))
            if rng.random() < score:
                outcomes.append(Outcome(rid, "online", ts + 7_200_000))
        append(store, made, outcomes, START + (hour + 1) * HOUR)
    return START + 6 * HOUR


def job(folder: Path, artifact: Path, watermark_ms: int) -> QualityJob:
    return QualityJob(
        store=str(folder),
        watermark_ms=watermark_ms,
        time_scale=1.0,
        lateness_s=60.0,
        tasks=tuple(TASKS),
        artifact=str(artifact),
        artifact_sha256=sha256((artifact / "manifest.json").read_bytes()),
        most=4_000,
        values={"click": 1.0, "online": 4.0},
    )


def test_slices_are_now_and_the_hours_that_have_just_closed() -> None:
    """The newest requests; the last hour with final clicks, and the last one with final onlines."""
    now = START + 10 * HOUR
    assert slices(AttributionWindows(TASKS, 1.0, 60.0), now) == [
        None,
        hour_of(START + 8 * HOUR),
        hour_of(START + 5 * HOUR),
    ]
    assert slices(AttributionWindows(TASKS, 1000.0, 0.0), now) == [None, hour_of(START + 8 * HOUR)]


def test_a_right_model_is_calibrated_and_has_no_drift(tmp_path: Path, artifact: Path) -> None:
    """Clicks of the last hours, onlines of those whose three hours have passed."""
    watermark_ms = fill(tmp_path / "store", shift=0)
    result = measure(job(tmp_path / "store", artifact, watermark_ms))
    assert result.unreadable == {}
    found = result.quality
    assert (found.version, set(found.tasks)) == ("v1", {"click", "online"})
    for task, most in (("click", 600_000), ("online", 10_800_000)):
        quality = found.tasks[task]
        assert quality.rows > 1_000
        assert quality.calibration is not None
        assert quality.error is not None
        assert abs(quality.calibration - 1) < 4 * quality.error
        assert quality.delays_s[0] * 1000 <= most
        assert not quality.learned_from
    assert found.tasks["online"].delays_s == pytest.approx((7200.0, 7200.0, 7200.0))
    assert found.reasons["explore"].share == pytest.approx(0.1, abs=0.01)
    assert set(found.feature_psi) == {"site", "segments"}
    assert max(found.feature_psi.values()) < 0.02
    assert max(found.score_psi.values()) < 0.02


def test_requests_of_new_sites_are_drift(tmp_path: Path, artifact: Path) -> None:
    """The shifted feature stands out; the segments do not."""
    watermark_ms = fill(tmp_path / "store", shift=3)
    found = measure(job(tmp_path / "store", artifact, watermark_ms)).quality
    assert found.feature_psi["site"] > 0.25
    assert found.feature_psi["segments"] < 0.02
    assert found.score_psi["click"] > found.feature_psi["segments"]


def test_an_empty_store_and_an_artifact_without_reference(tmp_path: Path, artifact: Path) -> None:
    """No figure, no error; as a process, with files."""
    store_at(tmp_path / "store")
    manifest = json.loads((artifact / "manifest.json").read_text())
    del manifest["files"][REFERENCE_FILE]
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    asked = job(tmp_path / "store", artifact, START)
    (tmp_path / "job.json").write_text(asked.model_dump_json())
    files = [str(tmp_path / name) for name in ("job.json", "result.json")]
    subprocess.run(module_command("trainer.quality.run", *files), check=True)
    result = QualityResult.model_validate_json((tmp_path / "result.json").read_bytes())
    assert result.quality.rows == 0
    assert result.quality.feature_psi == {}
    assert result.quality.tasks["click"].calibration is None
