"""Metrics of scores and uncertainties on held-out rows, per task on its own population."""

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from models.artifact.manifest import TaskMetrics
from models.tasks import TaskSet

FloatArray = npt.NDArray[np.float32] | npt.NDArray[np.float64]
CALIBRATION_BINS = 15


def evaluate(
    scores_NT: FloatArray, targets_NT: FloatArray, tasks: TaskSet
) -> dict[str, TaskMetrics]:
    """Metrics per task over the rows whose target is not NaN."""
    metrics = {}
    for column, name in enumerate(tasks.names):
        known_N = ~np.isnan(targets_NT[:, column])
        metrics[name] = task_metrics(
            scores_NT[known_N, column].astype(np.float64),
            targets_NT[known_N, column].astype(np.int64),
        )
    return metrics


def task_metrics(scores_N: npt.NDArray[np.float64], labels_N: npt.NDArray[np.int64]) -> TaskMetrics:
    """Metrics of one task; those that are undefined (no rows, one class) are None."""
    rows, positives = len(labels_N), int(labels_N.sum())
    both = 0 < positives < rows
    return TaskMetrics(
        rows=rows,
        positives=positives,
        auc_roc=float(roc_auc_score(labels_N, scores_N)) if both else None,
        auc_pr=float(average_precision_score(labels_N, scores_N)) if both else None,
        log_loss=float(log_loss(labels_N, scores_N, labels=[0, 1])) if rows else None,
        ece=calibration_error(scores_N, labels_N) if rows else None,
    )


def calibration_bins(
    scores_N: npt.NDArray[np.float64], labels_N: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Bins of equal count in order of the score: rows of (mean score, share positive, count)."""
    order_N = np.argsort(scores_N, kind="stable")
    parts = [part for part in np.array_split(order_N, CALIBRATION_BINS) if len(part)]
    return np.array([[scores_N[part].mean(), labels_N[part].mean(), len(part)] for part in parts])


def calibration_error(scores_N: npt.NDArray[np.float64], labels_N: npt.NDArray[np.int64]) -> float:
    """Expected calibration error: mean distance of score and share positive over the bins."""
    bins_B3 = calibration_bins(scores_N, labels_N)
    return float(np.average(np.abs(bins_B3[:, 0] - bins_B3[:, 1]), weights=bins_B3[:, 2]))


def spearman(a_N: FloatArray, b_N: FloatArray) -> float:
    """Rank correlation, ties at their mean rank; 0 where one side is constant."""
    ranks_2N = np.stack([pl.Series(values).rank().to_numpy() for values in (a_N, b_N)])
    if (ranks_2N.std(axis=1) == 0).any():
        return 0.0
    return float(np.corrcoef(ranks_2N)[0, 1])


def tail_overlap(a_N: FloatArray, b_N: FloatArray, share: float = 0.1) -> float:
    """Share of the largest ``share`` of ``a_N`` that is also among that of ``b_N``."""
    count = max(round(share * len(a_N)), 1)
    tails = [set(np.argsort(-values_N, kind="stable")[:count].tolist()) for values_N in (a_N, b_N)]
    return len(tails[0] & tails[1]) / count
