import numpy as np
import pytest

from models.tasks import Task, TaskSet
from trainer.evaluation.direct_passes import evaluate_direct_passes

TASKS = TaskSet([Task(name="click", window_s=1), Task(name="deal", window_s=1)])
WEIGHTS = {"click": 1.0, "deal": 10.0}


def world(rows: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores that are right on most requests, and a tenth of good ones that they rank last."""
    rng = np.random.default_rng(2)
    truth_N = rng.random(rows)
    missed_N = rng.random(rows) < 0.1
    truth_N[missed_N] = 0.95
    scores_N = np.where(missed_N, 0.01, truth_N)
    labels_NT = (rng.random((rows, 2)) < truth_N[:, None]).astype(np.float32)
    scores_NT = np.stack([scores_N, scores_N], axis=1).astype(np.float32)
    knowing_NT = np.stack([missed_N, rng.random(rows)], axis=1).astype(np.float32)
    return scores_NT, knowing_NT, labels_NT


def test_an_uncertainty_that_knows_pays() -> None:
    """Where click's u marks what the scores miss, it is picked; deal's noise costs value."""
    scores_NT, knowing_NT, labels_NT = world(8000)
    evidence = evaluate_direct_passes(
        scores_NT, {"swag": knowing_NT}, labels_NT, TASKS, rate=0.6, weights=WEIGHTS
    )
    assert evidence is not None
    assert (evidence.source, evidence.direct_share) == ("click", 0.05)
    rows = {(row.source, row.direct_share): row for row in evidence.table}
    assert rows["click", 0.05].gain > 3 * rows["click", 0.05].gain_error
    assert rows["deal", 0.05].gain < 0
    kept_by_score = rows["own", 0.0].value
    for row in evidence.table:
        assert row.value == pytest.approx(kept_by_score + row.gain)


def test_an_uncertainty_that_knows_nothing_is_not_used() -> None:
    """With noise for u, the pick is score alone."""
    scores_NT, _, labels_NT = world()
    noise_NT = np.random.default_rng(3).random(scores_NT.shape).astype(np.float32)
    evidence = evaluate_direct_passes(
        scores_NT, {"swag": noise_NT}, labels_NT, TASKS, rate=0.6, weights=WEIGHTS
    )
    assert evidence is not None
    assert evidence.direct_share == 0.0


def test_the_budget_is_equal() -> None:
    """When every request has the same value, no way of passing keeps more than the budget."""
    scores_NT, knowing_NT, _ = world(1000)
    evidence = evaluate_direct_passes(
        scores_NT,
        {"swag": knowing_NT},
        np.ones((1000, 2), np.float32),
        TASKS,
        rate=0.7,
        weights=WEIGHTS,
    )
    assert evidence is not None
    assert {round(row.value, 9) for row in evidence.table} == {0.3}


def test_masked_rows_do_not_count() -> None:
    """Rows with an immature label change nothing; without any value there is no evidence."""
    scores_NT, knowing_NT, labels_NT = world(500)
    masked_NT = np.full((50, 2), np.nan, np.float32)
    more_NT, more_u_NT = (np.concatenate([part, part[:50]]) for part in (scores_NT, knowing_NT))
    longer_NT = np.concatenate([labels_NT, masked_NT])
    u_NT, zeros_NT = {"swag": knowing_NT}, np.zeros_like(labels_NT)
    same = {"tasks": TASKS, "rate": 0.6, "weights": WEIGHTS}
    evidence = evaluate_direct_passes(scores_NT, u_NT, labels_NT, **same)
    assert evaluate_direct_passes(more_NT, {"swag": more_u_NT}, longer_NT, **same) == evidence
    assert evaluate_direct_passes(scores_NT, u_NT, zeros_NT, **same) is None


def test_the_method_that_knows_is_picked() -> None:
    """Among noise of other methods, the one that marks what the scores miss is found and tested."""
    scores_NT, knowing_NT, labels_NT = world()
    rng = np.random.default_rng(4)
    u = {f"noise{n}": rng.random(scores_NT.shape).astype(np.float32) for n in range(4)}
    u["knowing"] = knowing_NT
    evidence = evaluate_direct_passes(scores_NT, u, labels_NT, TASKS, rate=0.6, weights=WEIGHTS)
    assert evidence is not None
    assert (evidence.method, evidence.source) == ("knowing", "click")
    assert evidence.tested is not None
    assert evidence.tested.gain > 2 * evidence.tested.gain_error


def test_the_best_of_many_that_know_nothing_is_hardly_ever_used() -> None:
    """Of 40 worlds with ten methods of pure noise each, at most a few find one that pays."""
    paid = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        truth_N = rng.random(600)
        labels_NT = (rng.random((600, 2)) < truth_N[:, None]).astype(np.float32)
        # Scores that say nothing either, so that a pass by noise costs nothing on average.
        scores_NT = rng.random((600, 2)).astype(np.float32)
        u = {f"m{n}": rng.random((600, 2)).astype(np.float32) for n in range(10)}
        evidence = evaluate_direct_passes(scores_NT, u, labels_NT, TASKS, rate=0.6, weights=WEIGHTS)
        assert evidence is not None
        paid += evidence.direct_share > 0
    assert paid <= 4
