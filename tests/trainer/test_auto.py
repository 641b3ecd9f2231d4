import numpy as np
import pytest

from models.tasks import Task, TaskSet
from trainer.auto import judge_direct_passes

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
    scores_NT, knowing_NT, labels_NT = world()
    evidence = judge_direct_passes(
        scores_NT, knowing_NT, labels_NT, TASKS, rate=0.6, weights=WEIGHTS
    )
    assert evidence is not None
    assert (evidence.source, evidence.direct_share) == ("click", 0.05)
    rows = {(row.source, row.direct_share): row for row in evidence.table}
    assert rows["click", 0.05].gain > 4 * rows["click", 0.05].gain_error
    assert rows["deal", 0.05].gain < 0
    kept_by_score = rows["own", 0.0].value
    for row in evidence.table:
        assert row.value == pytest.approx(kept_by_score + row.gain)


def test_an_uncertainty_that_knows_nothing_is_not_used() -> None:
    """With noise for u, the pick is score alone."""
    scores_NT, _, labels_NT = world()
    noise_NT = np.random.default_rng(3).random(scores_NT.shape).astype(np.float32)
    evidence = judge_direct_passes(scores_NT, noise_NT, labels_NT, TASKS, rate=0.6, weights=WEIGHTS)
    assert evidence is not None
    assert evidence.direct_share == 0.0


def test_the_budget_is_equal() -> None:
    """When every request has the same value, no way of passing keeps more than the budget."""
    scores_NT, knowing_NT, _ = world(1000)
    evidence = judge_direct_passes(
        scores_NT, knowing_NT, np.ones((1000, 2), np.float32), TASKS, rate=0.7, weights=WEIGHTS
    )
    assert evidence is not None
    assert {round(row.value, 9) for row in evidence.table} == {0.3}


def test_masked_rows_do_not_count() -> None:
    """Rows with an immature label change nothing; without any value there is no evidence."""
    scores_NT, knowing_NT, labels_NT = world(500)
    masked_NT = np.full((50, 2), np.nan, np.float32)
    more = [np.concatenate([part, part[:50]]) for part in (scores_NT, knowing_NT)]
    assert judge_direct_passes(
        *more, np.concatenate([labels_NT, masked_NT]), TASKS, rate=0.6, weights=WEIGHTS
    ) == judge_direct_passes(scores_NT, knowing_NT, labels_NT, TASKS, rate=0.6, weights=WEIGHTS)
    zeros_NT = np.zeros_like(labels_NT)
    assert (
        judge_direct_passes(scores_NT, knowing_NT, zeros_NT, TASKS, rate=0.6, weights=WEIGHTS)
        is None
    )
