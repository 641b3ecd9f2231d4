import numpy as np
import pytest

from models.tasks import Task, TaskSet
from trainer.evaluation.metrics import (
    calibration_bins,
    calibration_error,
    evaluate,
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
