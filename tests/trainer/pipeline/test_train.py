import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.progress import Progress

from models.artifact import Artifact, load_artifact
from models.artifact.manifest import Manifest
from models.artifact.scorer import Scorer
from models.data.examples import ExampleError, Examples, read_examples
from models.settings.gates import GateLimits
from tests.trainer.small_world import CONFIG, CREATED, SPEC, TASKS, frame
from trainer.gates.captured import Policy
from trainer.gates.check import HeldOut, Predictions, check
from trainer.gates.ledger import Ledger
from trainer.gates.report import GateReport, Verdict
from trainer.pipeline.train import train

ROWS = 6000


def run(examples: Path, out: Path, seed: int = 0, unlabelled: Path | None = None) -> Manifest:
    return train(
        examples,
        SPEC,
        out,
        CONFIG,
        seed,
        created=CREATED,
        tasks=TASKS,
        unlabelled=unlabelled,
        progress=Progress(disable=True),
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with examples, unlabelled requests, fresh ones, and an artifact."""
    folder = tmp_path_factory.mktemp("train")
    for name, seed in (("examples", 1), ("pool", 2), ("fresh", 3)):
        frame(ROWS, seed, labelled=name != "pool").write_parquet(folder / f"{name}.parquet")
    run(folder / "examples.parquet", folder / "artifact", unlabelled=folder / "pool.parquet")
    return folder


def fresh(world: Path) -> Examples:
    return read_examples(world / "fresh.parquet", SPEC, TASKS)


def test_the_student_learns_the_planted_signal(world: Path) -> None:
    """Scores on fresh requests are near the true probabilities, each on its own population."""
    scores_NT, uncertainties_NT = Scorer(load_artifact(world / "artifact")).score(
        fresh(world).features_NC
    )
    ids_NC = fresh(world).features_NC - np.array([0, 12, 12, 24])
    good_site, good_app = ids_NC[:, 0] % 2 == 0, ids_NC[:, 3] % 2 == 0
    click_N = np.where(good_site, 0.8, 0.2)
    expected_NT = np.stack(
        [click_N, np.where(good_app, 0.85, 0.15), click_N * np.where(good_app, 0.5, 0.05)], axis=1
    )
    assert np.abs(scores_NT - expected_NT).mean(axis=0).max() < 0.05
    assert uncertainties_NT.min() > 0
    assert uncertainties_NT.max() < 0.25


def test_the_manifest_says_what_was_done(world: Path) -> None:
    """Rows, times, rates, metrics and files in the manifest are those of the run."""
    manifest = load_artifact(world / "artifact").manifest
    assert manifest.training.rows == round(ROWS * 0.85)
    assert manifest.training.held_out_rows == ROWS - manifest.training.rows
    assert manifest.training.unlabelled_rows == ROWS
    assert (manifest.training.ts_min, manifest.training.ts_max) == (0, 1000 * 5099)
    assert manifest.created == "2024-05-01T00:00:00+00:00"
    assert manifest.label_rates["click"] == pytest.approx(0.5, abs=0.03)
    assert set(manifest.files) == {
        "student.onnx",
        "features.toml",
        "card.html",
        "canary.json",
        "reference.json",
    }
    assert manifest.agreement < 1e-5
    for task in TASKS.names:
        teacher, student = manifest.metrics.teacher[task], manifest.metrics.student[task]
        assert teacher.auc_roc is not None
        assert student.auc_roc is not None
        assert teacher.auc_roc > 0.75
        assert teacher.auc_roc - student.auc_roc < 0.01
        assert manifest.metrics.uncertainty_spearman[task] > 0.5
    assert manifest.metrics.student["online"].rows < 0.6 * manifest.training.held_out_rows
    card = (world / "artifact" / "card.html").read_text()
    assert manifest.version in card
    assert card.count("<svg") == 3 * len(TASKS)


def test_the_same_seed_gives_the_same_artifact(world: Path, tmp_path: Path) -> None:
    """Two runs are equal to the last byte; another seed is another student."""
    again = run(world / "examples.parquet", tmp_path / "a", unlabelled=world / "pool.parquet")
    assert again == load_artifact(world / "artifact").manifest
    other = run(world / "examples.parquet", tmp_path / "b", seed=1)
    assert other.files["student.onnx"] != again.files["student.onnx"]


def test_method_and_target_are_configuration(world: Path, tmp_path: Path) -> None:
    """Another method's uncertainty is learned, brought to the labels' mean, and brought back."""
    distillation = replace(CONFIG.distillation, target="mean", hard_weight=0.2)
    manifest = train(
        world / "examples.parquet",
        SPEC,
        tmp_path / "out",
        replace(CONFIG, uncertainty="laplace", distillation=distillation),
        0,
        created=CREATED,
        tasks=TASKS,
        progress=Progress(disable=True),
    )
    assert manifest.auto is not None
    assert {row.method for row in manifest.auto.table} == {"laplace"}
    assert manifest.uncertainty_target == "mean"
    artifact = load_artifact(tmp_path / "out")
    scores_NT, uncertainties_NT = Scorer(artifact).score(fresh(world).features_NC)
    for column, task in enumerate(TASKS.names):
        scaled = uncertainties_NT[:, column].mean() * manifest.rescaling[task]
        assert scaled == pytest.approx(scores_NT[:, column].mean(), rel=0.1)


def test_rows_without_labels_join_the_unlabelled(world: Path, tmp_path: Path) -> None:
    """Fully masked rows among the examples are for the student, and change no target."""
    both = [pl.read_parquet(world / f"{name}.parquet") for name in ("examples", "pool")]
    pl.concat(both).write_parquet(tmp_path / "both.parquet")
    manifest = run(tmp_path / "both.parquet", tmp_path / "out")
    training = manifest.training
    assert (training.rows, training.held_out_rows) == (round(0.85 * ROWS), round(0.15 * ROWS))
    assert training.unlabelled_rows == ROWS


def test_rows_with_open_labels_are_learned_from(world: Path, tmp_path: Path) -> None:
    """Deals take up to 2,000 s of the 6,000 s in the store; a third of the rows are open."""
    rng = np.random.default_rng(0)
    stored = pl.read_parquet(world / "examples.parquet")
    delay_ms = pl.Series(rng.integers(1, 2_000_000, ROWS))
    age_ms = 6_000_000 - pl.col("ts")
    deal, seen = pl.col("label_deal"), (pl.col("label_deal") == 1) & (delay_ms <= age_ms)
    nothing = pl.lit(None, pl.Int64)
    stored.with_columns(
        label_deal=pl.when(seen | (age_ms > 2_000_000)).then(deal),
        elapsed=age_ms,
        delay_click=pl.when(pl.col("label_click") == 1).then(pl.lit(0, pl.Int64)),
        delay_online=nothing,
        delay_deal=pl.when(seen).then(delay_ms),
    ).write_parquet(tmp_path / "open.parquet")

    manifest = run(tmp_path / "open.parquet", tmp_path / "out")

    training, deals = manifest.training, manifest.metrics.student["deal"]
    assert training.rows + training.held_out_rows >= ROWS - 2
    # 15 % of the final rows of each task, the newest, are held out.
    assert deals.rows == pytest.approx(0.15 * 4000, abs=2)
    assert training.held_out_rows == pytest.approx(0.15 * ROWS, abs=2)
    rate = float(stored["label_deal"].mean())  # type: ignore[arg-type]
    assert deals.positives / deals.rows == pytest.approx(rate, abs=0.05)
    scores_NT, _ = Scorer(load_artifact(tmp_path / "out")).score(fresh(world).features_NC)
    assert scores_NT[:, 2].mean() == pytest.approx(rate, abs=0.02)


def test_a_task_that_cannot_be_learned_is_named(tmp_path: Path) -> None:
    """Without a positive there is nothing to learn, and the error says for which task."""
    bad = frame(100, 1).with_columns(label_deal=pl.lit(0, pl.Int8))
    bad.write_parquet(tmp_path / "bad.parquet")
    with pytest.raises(ExampleError, match="label_deal: 0 positives"):
        run(tmp_path / "bad.parquet", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_trained_model_passes_the_gates_and_an_untrained_one_fails(
    world: Path, tmp_path: Path
) -> None:
    """One that learned replaces one of shuffled features, not the other way; so for a first one.

    What chance leaves in the features of this shuffle contradicts the truth; others agree a little.
    """
    shuffled = pl.read_parquet(world / "examples.parquet").with_columns(
        pl.col("features").shuffle(seed=5)
    )
    shuffled.write_parquet(tmp_path / "shuffled.parquet")
    run(tmp_path / "shuffled.parquet", tmp_path / "bad")
    good, bad = load_artifact(world / "artifact"), load_artifact(tmp_path / "bad")
    rows = HeldOut(fresh(world).features_NC, fresh(world).labels_NT, np.ones(SPEC.rows, np.bool_))

    def tried(candidate: Artifact, serving: Artifact, comparable: bool = True) -> GateReport:
        new, old = (Predictions.of(artifact, rows.ids_NC) for artifact in (candidate, serving))
        return check(
            candidate,
            serving,
            (new, old if comparable else None),
            rows,
            Policy(lambda scores_NT, _: TASKS.on_all_requests(scores_NT).sum(axis=1), 0.6),
            GateLimits(slowdown=99.0, teacher_score=-1.0, teacher_uncertainty=-1.0),
            Ledger(str(tmp_path / "registry"), serving.manifest_sha256),
            time.perf_counter,
        )

    assert tried(good, bad).refusals == []
    assert tried(good, bad, comparable=False).refusals == []
    failed = {gate.name for gate in tried(bad, good).gates if gate.verdict is Verdict.FAIL}
    assert failed >= {"better", "log-loss click", "reward"}
    assert tried(bad, bad, comparable=False).verdict is not Verdict.PASS
    assert tried(good, good).verdict is Verdict.HOLD
