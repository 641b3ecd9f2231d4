"""A held candidate tried again on a store: which rows count, what it costs, what it publishes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.artifact import load_artifact
from models.artifact.registry import Registry
from models.data.examples import ExampleError
from models.settings import ModelSettings, ScenarioSettings
from models.settings.gates import GateLimits
from models.tasks import TaskSet
from tests.tiny_artifact import Make
from tests.trainer.quality.test_run import HOUR, ROWS, TASKS, fill
from tests.trainer.small_world import CREATED
from tests.trainer.store.rows import START
from trainer.gates.ledger import Ledger
from trainer.gates.report import Gate, Verdict
from trainer.pipeline.rebuild_job import RebuildJob
from trainer.retest.evidence import NewerRows
from trainer.retest.run import retest
from trainer.store.snapshot import write_snapshot
from trainer.store.windows import AttributionWindows
from trainer.training.config import TrainConfig

LIMITS = GateLimits(
    log_loss=9, auc_pr=9, calibration=9, reward=9, teacher_score=-1, teacher_uncertainty=-1,
    slowdown=99, min_positives=1,
)  # fmt: skip


@pytest.fixture
def job(make_artifact: Make, tiny: Callable[..., bytes], tmp_path: Path) -> RebuildJob:
    """A candidate that is right, against one that is not; six hours, of which it learned two."""
    any_manifest = load_artifact(make_artifact("any")).manifest
    alike = {"uncertainty_spearman": {"click": 0.9, "online": 0.9}}
    metrics = any_manifest.metrics.model_copy(update=alike)
    learned = any_manifest.training.model_copy(update={"ts_max": START + 2 * HOUR})
    same = {"tasks": tuple(TASKS), "training": learned, "metrics": metrics}
    serving = make_artifact("serving", tiny(weights=[0.05, 0.05, 0.05]), tasks=tuple(TASKS))
    make_artifact("candidate", version="v2", **same)
    make_artifact("equal", tiny(weights=[0.05, 0.05, 0.05]), version="v3", **same)
    watermark_ms = fill(tmp_path / "store", shift=0)
    made = RebuildJob(
        store=str(tmp_path / "store"),
        watermark_ms=START + 2 * HOUR,
        time_scale=1.0,
        lateness_s=60.0,
        most=10**6,
        serving=str(serving),
        serving_sha256=load_artifact(serving).manifest_sha256,
        tasks=tuple(TASKS),
        folder=tmp_path / "candidate",
        work=tmp_path / "work",
        registry=ModelSettings(registry=str(tmp_path / "registry")),
        config=TrainConfig(),
        seed=0,
        created=CREATED,
        limits=LIMITS,
        policy=ScenarioSettings(weights={"click": 1.0}),
        retest_ms=watermark_ms,
    )
    np.save(made.seen_file, np.ones(load_artifact(serving).spec.rows, np.bool_))
    return made


def test_a_candidate_that_newer_requests_favour_is_published(job: RebuildJob) -> None:
    """On the requests after those that it learned from; the verdict says how old they are."""
    result = retest(job)
    assert (result.gates.verdict, result.gates.trial, result.version) == (Verdict.PASS, 1, "v2")
    assert result.url is not None
    click, online = result.gates.promised["click"], result.gates.promised["online"]
    # requests of hours 2 to 5; those of the last eleven minutes have no final label
    assert 3 * ROWS < result.gates.rows <= 4 * ROWS
    assert click.newest_s is not None
    assert online.newest_s is not None
    assert click.newest_s >= 660
    assert online.newest_s >= 3 * 3600 + 60
    (gate,) = [g for g in result.gates.gates if (g.gate, g.task) == (Gate.LOG_LOSS, "online")]
    assert "; of requests 3.2 h old or older, half of them " in gate.reason
    published = load_artifact(result.url, result.manifest_sha256)
    assert {"gates.json", "card.html"} <= published.manifest.files.keys()
    # killed before its result was written: the same verdict, no further trial
    assert retest(job) == result.model_copy(update={"snapshot": result.snapshot})
    assert len(Ledger(job.registry.registry, job.serving_sha256).trials) == 1


def test_each_retest_is_one_more_trial(job: RebuildJob) -> None:
    """At its own level; the same rows are the same trial, newer ones another."""
    equal = job.model_copy(update={"folder": job.folder.with_name("equal")})
    first = retest(equal.model_copy(update={"retest_ms": START + 5 * HOUR}))
    assert (first.gates.verdict, first.url, first.gates.trial) == (Verdict.HOLD, None, 1)
    again = retest(equal.model_copy(update={"retest_ms": START + 5 * HOUR}))
    assert again.gates.trial == 1
    later = retest(equal)
    assert later.gates.trial == 2
    assert later.gates.alpha_k < first.gates.alpha_k
    assert later.gates.rows > first.gates.rows
    assert Registry(job.registry.registry).versions() == []


def test_a_candidate_without_newer_requests_is_an_error(job: RebuildJob) -> None:
    """Named with what is missing, and nothing is spent."""
    with pytest.raises(ExampleError, match="no request after"):
        retest(job.model_copy(update={"retest_ms": START + 2 * HOUR}))
    assert Ledger(job.registry.registry, job.serving_sha256).trials == ()


def test_no_label_counts_before_its_window_has_closed(job: RebuildJob, tmp_path: Path) -> None:
    """Of young requests only positives are known; they would favour whoever scores high."""
    spec = load_artifact(job.serving).spec
    tasks = TaskSet(job.tasks)
    windows = AttributionWindows(tasks, 1.0, 60.0)
    watermark_ms = START + 6 * HOUR
    write_snapshot(job.store, tmp_path / "rows", spec, windows, 10**6, watermark_ms)
    newer = NewerRows(spec, tasks, windows, watermark_ms, START + 2 * HOUR, 10.0)
    found = newer.read(tmp_path / "rows", np.ones(spec.rows, np.bool_), tmp_path)
    assert found.elapsed_N is not None
    young_N = found.elapsed_N <= windows.windows_ms[1] + windows.lateness_ms
    assert young_N.any()
    assert np.isnan(found.labels_NT[young_N, 1]).all()
    assert not np.isnan(found.labels_NT[~young_N, 1]).any()
    assert not np.isnan(found.labels_NT[:, 0]).any()
    assert (watermark_ms - found.elapsed_N > START + 2 * HOUR).all()
    assert found.ids_NC.shape == (len(found.labels_NT), spec.columns)
