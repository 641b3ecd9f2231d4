"""Count-based variance: the rarer a request's ids among the training rows, the less certain it is.

Every id has one weight in the logit, with a normal prior of variance 1 / C, so that a request of
unseen ids has a logit variance of 1. The training rows with the id hold this information on its
weight:

    I(id) = sum of p (1 - p) over the rows of the task's population with the id,

its pseudo-count: the diagonal of the generalised Gauss-Newton matrix of a linear model on the ids.
The logit of a request then has the variance

    sum over its C ids of 1 / (C + I(id)),

to which the rarest ids contribute most, and u is the standard deviation of the sigmoid of that
normal logit around the teacher's score.
"""

from collections.abc import Callable

import numpy as np

from trainer.uncertainty.lab import Lab
from trainer.uncertainty.log_odds import spread_of
from trainer.uncertainty.method import Estimator, Float32Array, Ids, Rows
from trainer.uncertainty.shared_score import SharedScoreEstimator


def count(lab: Lab) -> Estimator:
    """Standard deviation of the sigmoid of a logit whose variance falls with its ids' counts."""
    spread = logit_spread(lab)
    return SharedScoreEstimator(lab, lambda ids_NC, mean_NT: spread_of(mean_NT, spread(ids_NC)))


def logit_spread(lab: Lab) -> Callable[[Ids], Float32Array]:
    """Standard deviation (N, T) of the logit of requests, by their ids alone."""
    information_RT = pseudo_counts(lab.rows, lab.scores(lab.rows.ids_NC), lab.layout.rows)
    weight_variance_RT = 1 / (lab.layout.columns + information_RT)

    def spread(ids_NC: Ids) -> Float32Array:
        variance_NT = sum(weight_variance_RT[ids_N] for ids_N in ids_NC.T)
        std: Float32Array = np.sqrt(variance_NT)
        return std

    return spread


def pseudo_counts(rows: Rows, scores_NT: Float32Array, table_rows: int) -> Float32Array:
    """I(id) per id and task, (R, T)."""
    noise_NT = np.where(np.isnan(rows.targets_NT), 0, scores_NT * (1 - scores_NT))
    columns = rows.ids_NC.shape[1]
    return np.stack(
        [
            np.bincount(rows.ids_NC.ravel(), np.repeat(noise_N, columns), table_rows)
            for noise_N in noise_NT.T
        ],
        axis=1,
    ).astype(np.float32)
