import numpy as np
import pytest

from models.tasks import Task, TaskSet
from trainer.evaluation.metrics import (
    Selection,
    calibration_bins,
    calibration_error,
    evaluate,
    evaluate_explored,
    evaluate_weighted,
    spearman,
    task_metrics,
)

TASKS = TaskSet([Task(name="click", window_s=1), Task(name="deal", window_s=1)])


def test_perfect_and_inverted_scores() -> None:
    """A perfect order has AUC 1, the inverted one 0; masked rows do not count."""
    targets_NT = np.array([[0, 1], [1, 0], [0, np.nan], [np.nan, 1]], np.float32)
    scores_NT = np.array([[0.1, 0.1], [0.9, 0.9], [0.2, 0.99], [0.0, 0.2]], np.float32)
    metrics = evaluate(scores_NT, targets_NT, TASKS)
    assert (metrics["click"].rows, metrics["click"].positives) == (3, 1)
    assert metrics["click"].auc_roc == 1.0
    assert metrics["click"].auc_pr == 1.0
    assert metrics["deal"].auc_roc == 0.0


def test_log_loss_and_calibration_by_hand() -> None:
    """Log-loss and calibration error equal their definitions; bins hold equal counts."""
    scores_N = np.repeat([0.2, 0.8], 150)
    labels_N = np.concatenate([np.tile([1, 0, 0, 0, 0], 30), np.tile([1, 0], 75)]).astype(np.int64)
    bins_B3 = calibration_bins(scores_N, labels_N)
    assert set(bins_B3[:, 2]) == {20.0}
    # the lower half is calibrated; the upper half says 0.8 where 0.5 is true
    assert calibration_error(scores_N, labels_N) == pytest.approx(0.5 * 0.3, abs=0.02)
    expected = -np.mean(np.where(labels_N == 1, np.log(scores_N), np.log(1 - scores_N)))
    assert task_metrics(scores_N, labels_N).log_loss == pytest.approx(expected)


def test_what_cannot_be_computed_is_none() -> None:
    """One class has no AUC, no rows have nothing."""
    one_class = task_metrics(np.array([0.1, 0.2]), np.array([0, 0]))
    assert one_class.auc_roc is None
    assert one_class.log_loss is not None
    nothing = task_metrics(np.zeros(0), np.zeros(0, np.int64))
    assert (nothing.rows, nothing.log_loss, nothing.ece) == (0, None, None)


def test_rank_correlation() -> None:
    """Any rising function correlates perfectly, ties share a rank, a constant correlates not."""
    x_N = np.array([1.0, 2.0, 3.0, 4.0])
    assert spearman(x_N, np.exp(x_N)) == pytest.approx(1.0)
    assert spearman(x_N, -x_N) == pytest.approx(-1.0)
    assert spearman(x_N, np.array([1.0, 1.0, 2.0, 2.0])) == pytest.approx(2 / np.sqrt(5))
    assert spearman(x_N, np.ones(4)) == 0.0


def test_a_weighted_row_counts_as_so_many_rows() -> None:
    """Weights of 1 and 3 give the metrics of the rows and of three copies of the others."""
    rng = np.random.default_rng(1)
    scores_N, labels_N = rng.random(400), rng.integers(0, 2, 400)
    weights_N = rng.choice([1.0, 3.0], 400)
    copies_N = np.repeat(np.arange(400), weights_N.astype(int))
    weighted = task_metrics(scores_N, labels_N, weights_N)
    copied = task_metrics(scores_N[copies_N], labels_N[copies_N])
    assert weighted.auc_roc == pytest.approx(copied.auc_roc)
    assert weighted.auc_pr == pytest.approx(copied.auc_pr)
    assert weighted.log_loss == pytest.approx(copied.log_loss)
    assert (weighted.rows, weighted.positives) == (400, labels_N.sum())
    assert weighted.effective_rows == pytest.approx(weights_N.sum() ** 2 / (weights_N**2).sum())
    even = task_metrics(scores_N, labels_N, np.full(400, 7.0))
    assert even.ece == pytest.approx(task_metrics(scores_N, labels_N).ece)
    assert even.effective_rows == pytest.approx(400)


def test_the_weighted_estimate_is_that_of_all_requests() -> None:
    """Of rows that a policy passed, the naive log-loss is off, and the weighted one is not.

    Requests above a threshold pass surely, the others with probability 0.1, which is logged. The
    model is badly calibrated below the threshold, so the naive estimate is too good. Averaged over
    200 draws of labels and exploration, the weighted one is within three standard errors of the
    value over all requests, and the explored share's of the value over those below the threshold.
    """
    rng = np.random.default_rng(2)
    scores_N = rng.random(4000)
    truth_N = np.where(scores_N > 0.8, scores_N, 0.5 * scores_N + 0.3)
    propensity_N = np.where(scores_N > 0.8, 1.0, 0.1)
    losses_N = -truth_N * np.log(scores_N) - (1 - truth_N) * np.log(1 - scores_N)
    found = {"naive": [], "weighted": [], "explored": []}
    for _ in range(200):
        labels_N1 = (rng.random(4000) < truth_N).astype(np.float32)[:, None]
        rows_K = np.flatnonzero(rng.random(4000) < propensity_N)
        counts_K = np.ones(len(rows_K), np.float32)
        selection = Selection.of(counts_K, propensity_N[rows_K], clip=10.0)
        tasks = TaskSet([Task(name="click", window_s=1)])
        args = (scores_N[rows_K, None], labels_N1[rows_K], tasks)
        found["naive"].append(evaluate(*args)["click"].log_loss)
        found["weighted"].append(evaluate_weighted(*args, selection)["click"].log_loss)
        found["explored"].append(evaluate_explored(*args, selection)["click"].log_loss)
    mean = {name: np.mean(values) for name, values in found.items()}
    error = {name: np.std(values) / np.sqrt(200) for name, values in found.items()}
    assert abs(mean["weighted"] - losses_N.mean()) < 3 * error["weighted"]
    assert abs(mean["explored"] - losses_N[scores_N <= 0.8].mean()) < 3 * error["explored"]
    assert abs(mean["naive"] - losses_N.mean()) > 10 * error["naive"]
