"""The trial of a candidate against the serving artifact."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.progress import Progress

from models.artifact import Artifact, load_artifact
from models.artifact.registry import Registry
from models.data.examples import example_schema
from models.settings import ModelSettings, ScenarioSettings
from models.settings.gates import GateLimits
from models.tasks import Task, TaskSet
from tests.tiny_artifact import Make, tiny_student
from tests.trainer.small_world import CREATED
from trainer.gates.captured import Policy
from trainer.gates.check import HeldOut, Predictions, check
from trainer.gates.ledger import Ledger
from trainer.gates.report import Gate, GateReport, Verdict
from trainer.pipeline.rebuild_job import RebuildJob
from trainer.pipeline.trial import serving_predictions, try_candidate
from trainer.training.config import TrainConfig
from trainer.training.rows import TrainingRows, lay_out


def test_an_artifact_that_cannot_score_the_held_out_rows_can_be_replaced(
    make_artifact: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A serving artifact that cannot score them is not compared with, and ends no rebuild."""
    student = tiny_student(poison=5).SerializeToString()
    artifact = load_artifact(make_artifact(onnx_bytes=student))
    ids_NC = np.full((20, 3), 5, np.int32)
    labels_NT = np.tile(np.array([[0, np.nan], [1, 1]], np.float32), (10, 1))
    rows = HeldOut(ids_NC, labels_NT, np.ones(artifact.spec.rows, np.bool_))
    assert serving_predictions(artifact, artifact.tasks, rows) is None
    assert "cannot score the held-out rows" in caplog.text
    fine = serving_predictions(artifact, artifact.tasks, replace(rows, ids_NC=ids_NC + 1))
    assert fine is not None
    assert fine.scores_NT.shape == (20, 2)
    others = TaskSet([Task(name="sale", window_s=60)])
    assert serving_predictions(artifact, others, replace(rows, ids_NC=ids_NC + 1)) is None


def laid_out(folder: Path, artifact: Artifact, seed: int) -> TrainingRows:
    """4,000 rows whose clicks follow the tiny student's scores, half of them held out."""
    rng = np.random.default_rng(seed)
    ids_NC = np.stack([rng.integers(0, 8, 4_000), *rng.integers(8, 24, (2, 4_000))], axis=1)
    clicked_N = rng.random(4_000) < 1 / (1 + np.exp(0.4 - 0.1 * ids_NC.sum(axis=1)))
    online_N = rng.random(4_000) < 0.8
    schema = example_schema(artifact.tasks)
    frame = pl.DataFrame(
        {
            "request_id": [f"r{number}" for number in range(4_000)],
            "ts": np.arange(4_000),
            "spec": [artifact.spec.hash] * 4_000,
            "features": ids_NC.tolist(),
            "label_click": clicked_N.astype(int),
            "label_online": (clicked_N & online_N).astype(int),
            "model": ["m"] * 4_000,
            "reason": ["score"] * 4_000,
            "e": [0.5] * 4_000,
            "threshold": [0.5] * 4_000,
            "propensity": [1.0] * 4_000,
        },
        schema_overrides=schema,
    )
    folder.mkdir()
    frame.select(*schema).write_parquet(folder / "part.parquet")
    with Progress(disable=True) as bars:
        return lay_out(
            folder / "part.parquet",
            None,
            artifact.spec,
            artifact.tasks,
            held_out=0.5,
            folder=folder,
            progress=bars,
        )


def test_the_verdict_is_part_of_the_candidate(
    make_artifact: Make,
    tiny: Callable[..., bytes],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In ``gates.json``, the card and the log; hashes agree, and it is published with them."""
    caplog.set_level("INFO", logger="trainer")
    like_a_teacher = load_artifact(make_artifact("any")).manifest.metrics.model_copy(
        update={"uncertainty_spearman": {"click": 0.9, "online": 0.9}}
    )
    bad_student = tiny(weights=[-0.1, 0.01, 0.01])
    serving = load_artifact(make_artifact("serving", bad_student, metrics=like_a_teacher))
    candidate = load_artifact(make_artifact("candidate", version="v2", metrics=like_a_teacher))
    rows = laid_out(tmp_path / "rows", serving, 1)
    job = RebuildJob(
        store=str(tmp_path / "store"),
        watermark_ms=None,
        time_scale=1.0,
        lateness_s=0.0,
        most=1,
        serving=serving.url,
        serving_sha256=serving.manifest_sha256,
        tasks=tuple(serving.tasks),
        folder=tmp_path / "candidate",
        work=tmp_path / "work",
        reason="a test",
        registry=ModelSettings(registry=str(tmp_path / "registry")),
        config=TrainConfig(),
        seed=0,
        created=CREATED,
        limits=GateLimits(calibration=9, log_loss=9, slowdown=99),
        policy=ScenarioSettings(weights={"click": 1.0}),
    )
    report = try_candidate(job, rows, serving, candidate)
    assert (report.candidate, report.serving, report.trial) == ("v2", "v1", 1)
    assert report.refusals == []
    assert "gate better: pass: better: +0." in caplog.text
    # a rebuild that is killed now finds its verdict, and publishes the same bytes
    assert try_candidate(job, rows, serving, load_artifact(job.folder)) == report
    registry = Registry(job.registry.registry)
    url = registry.publish(job.folder, "v2")
    published = Path(url)
    assert GateReport.model_validate_json((published / "gates.json").read_bytes()) == report
    assert "Gates: pass" in (published / "card.html").read_text()
    assert load_artifact(url).manifest.files.keys() >= {"gates.json", "card.html"}
    assert registry.versions() == ["v2"]  # the ledger is no version
    assert report.promised["click"].passed_label_rate > report.promised["click"].label_rate
    # the other way round on fresh rows, and then once more
    back = job.model_copy(update={"folder": tmp_path / "serving", "serving_sha256": "unused"})
    for k, seed in ((1, 2), (2, 3)):
        again = try_candidate(
            back, laid_out(tmp_path / f"{seed}", serving, seed), candidate, serving
        )
        assert again.trial == k
        assert again.verdict is Verdict.FAIL
        assert {gate.gate for gate in again.gates if not gate.passed} >= {Gate.BETTER}


def test_a_candidate_that_fails_without_labels_is_no_trial(
    make_artifact: Make, tmp_path: Path
) -> None:
    """Nothing is spent, and labels are not looked at."""
    serving = load_artifact(make_artifact("serving"))
    wrong = load_artifact(make_artifact("wrong", agreement=0.1))
    rows = laid_out(tmp_path / "rows", serving, 1).held_out_rows
    ledger = Ledger(str(tmp_path / "registry"), serving.manifest_sha256)
    ids_NC = rows.ids_KC.numpy()
    predictions = (Predictions.of(wrong, ids_NC), Predictions.of(serving, ids_NC))
    report = check(
        wrong,
        serving,
        predictions,
        HeldOut(ids_NC, rows.labels_KT.numpy(), np.ones(serving.spec.rows, np.bool_)),
        Policy(lambda scores_NT, _: scores_NT[:, 0], 0.5),
        GateLimits(slowdown=99),
        ledger,
        time.perf_counter,
    )
    assert report.verdict is Verdict.FAIL
    assert Gate.BETTER not in {gate.gate for gate in report.gates}
    assert ledger.trials == ()
