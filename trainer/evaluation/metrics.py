"""Metrics of scores and uncertainties on held-out rows, per task on its own population.

Held-out rows are those that the policy passed, so their plain metrics are about passed requests
only. There are three estimates: the naive one, in which every row counts once; the weighted one,
self-normalised with the weights of ``trainer/training/selection.py``, which is about all requests;
and that of the rows which passed by exploration alone, about requests that would be blocked. The
weighted one needs exploration, and its effective number of rows says how far to trust it.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score

from models.artifact.manifest import TaskMetrics
from models.tasks import TaskSet
from trainer.training.selection import effective_rows, explored, selection_weights

FloatArray = npt.NDArray[np.float32] | npt.NDArray[np.float64]
CALIBRATION_BINS = 15


@dataclass(frozen=True, slots=True)
class Selection:
    """How the policy selected held-out rows.

    Attributes:
        weights_N: Weight of each row, for how many requests it stands.
        explored_N: Whether it passed by exploration alone.
    """

    weights_N: npt.NDArray[np.float64]
    explored_N: npt.NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        counts_N: npt.NDArray[np.float32],
        propensities_N: npt.NDArray[np.float64],
        clip: float,
    ) -> Self:
        """The selection of rows with these propensities (NaN: unknown, counts as 1).

        Args:
            counts_N: Number of requests that each row represents.
            propensities_N: Probability of the decision by which it was observed.
            clip: Greatest weight by inverse propensity.
        """
        weights_N = counts_N.astype(np.float64) * selection_weights(propensities_N, clip)
        return cls(weights_N, explored(propensities_N))


def evaluate(
    scores_NT: FloatArray,
    targets_NT: FloatArray,
    tasks: TaskSet,
    weights_N: npt.NDArray[np.float64] | None = None,
) -> dict[str, TaskMetrics]:
    """Metrics per task over the rows whose target is not NaN; None weighs all alike."""
    metrics = {}
    for column, name in enumerate(tasks.names):
        known_N = ~np.isnan(targets_NT[:, column])
        metrics[name] = task_metrics(
            scores_NT[known_N, column].astype(np.float64),
            targets_NT[known_N, column].astype(np.int64),
            None if weights_N is None else weights_N[known_N],
        )
    return metrics


def evaluate_weighted(
    scores_NT: FloatArray, targets_NT: FloatArray, tasks: TaskSet, selection: Selection | None
) -> dict[str, TaskMetrics]:
    """Weighted metrics per task; empty without a selection."""
    if selection is None:
        return {}
    return evaluate(scores_NT, targets_NT, tasks, selection.weights_N)


def evaluate_explored(
    scores_NT: FloatArray, targets_NT: FloatArray, tasks: TaskSet, selection: Selection | None
) -> dict[str, TaskMetrics]:
    """Weighted metrics per task of the explored rows alone; empty without a selection."""
    if selection is None:
        return {}
    rows = selection.explored_N
    return evaluate(scores_NT[rows], targets_NT[rows], tasks, selection.weights_N[rows])


def task_metrics(
    scores_N: npt.NDArray[np.float64],
    labels_N: npt.NDArray[np.int64],
    weights_N: npt.NDArray[np.float64] | None = None,
) -> TaskMetrics:
    """Metrics of one task; those that are undefined (no rows, one class) are None."""
    rows, positives = len(labels_N), int(labels_N.sum())
    both, weigh = 0 < positives < rows, {"sample_weight": weights_N}
    return TaskMetrics(
        rows=rows,
        positives=positives,
        auc_roc=float(roc_auc_score(labels_N, scores_N, **weigh)) if both else None,
        auc_pr=float(average_precision_score(labels_N, scores_N, **weigh)) if both else None,
        log_loss=float(log_loss(labels_N, scores_N, labels=[0, 1], **weigh)) if rows else None,
        ece=calibration_error(scores_N, labels_N, weights_N) if rows else None,
        effective_rows=None if weights_N is None else effective_rows(weights_N),
    )


def calibration_bins(
    scores_N: npt.NDArray[np.float64],
    labels_N: npt.NDArray[np.int64],
    weights_N: npt.NDArray[np.float64] | None = None,
) -> npt.NDArray[np.float64]:
    """Bins of equal count in order of the score: rows of (mean score, share positive, weight)."""
    order_N = np.argsort(scores_N, kind="stable")
    parts = [part for part in np.array_split(order_N, CALIBRATION_BINS) if len(part)]
    if weights_N is None:
        weights_N = np.ones(len(scores_N))
    return np.array(
        [
            [
                np.average(scores_N[part], weights=weights_N[part]),
                np.average(labels_N[part], weights=weights_N[part]),
                weights_N[part].sum(),
            ]
            for part in parts
        ]
    )


def calibration_error(
    scores_N: npt.NDArray[np.float64],
    labels_N: npt.NDArray[np.int64],
    weights_N: npt.NDArray[np.float64] | None = None,
) -> float:
    """Expected calibration error: mean distance of score and share positive over the bins."""
    bins_B3 = calibration_bins(scores_N, labels_N, weights_N)
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
