"""The net's difference from boosting, as far as held-out labels confirm it, and what it leaves.

Let q be the true probability of a request, p the score of the net that serves, b that of boosting
on the same rows, d = logit b - logit p their difference, and e = logit q - logit p the net's error.
The best linear guess of e is a d with a = E[d e] / E[d^2], and its remainder has the variance

    E[(e - a d)^2] = E[e^2] - a^2 E[d^2].

Were the errors of the two models uncorrelated, E[e^2] would be E[d e]; but most of the error is
common to both, and does not show in d. With E[e^2] = SHARED E[d e] the remainder is
(SHARED a - a^2) E[d^2]. It is larger where models disagree on average, and where the ids of the
request are rare: with R the product of the mean disagreement H(x) (``disagreement.py``) and the
spread C(x) by the counts of the ids (``count.py``), scaled to E[R^2] = E[d^2],

    u(x)^2 = a^2 d(x)^2 + (SHARED a - a^2) R(x)^2.

Labels decide a, the share of d^2 that they confirm. For a label y and models that were fitted
without it, with s = p (1 - p),

    E[ d (y - p) / s | x ] = d (q - p) / s ~ d e,

and a is the first step of a logistic regression of y on d with the net's logit as offset.

Labels decide this one number per task, and no function of x: a model of E[d e | x] describes the
errors of nets fitted on two thirds of the rows, and may rank those of the serving net wrongly.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from trainer.uncertainty.count import logit_spread
from trainer.uncertainty.lab import HeldOut, Lab
from trainer.uncertainty.log_odds import logits, spread_of
from trainer.uncertainty.method import Float32Array, Ids
from trainer.uncertainty.shared_score import SharedScoreEstimator

Doubles = npt.NDArray[np.float64]

SHARE: Final = (0.05, 1.0)
"""Least and greatest share of d^2 that the labels are taken to confirm."""
SHARED: Final = 2.0
"""Squared error over the part of it that shows in the difference from boosting. Labels cannot tell
it. Five simulated markets had 5 to 23 with 100,000 rows; two is cautious."""


def confirmed(lab: Lab) -> SharedScoreEstimator:
    """Spread of the logit by the row's own difference and by the mean one of rows like it."""
    held, ids_NC = lab.held_out(), lab.rows.ids_NC
    square_T = (held.difference_NT.astype(np.float64) ** 2).mean(axis=0)
    share_T = confirmed_share(held, lab.rows.targets_NT)
    distance, rarity, boosting = lab.distance(), logit_spread(lab), lab.boosting()

    def risk(ids_NC: Ids) -> Doubles:
        """Relative spread of the remainder, (N, T)."""
        return np.asarray(distance.predict(ids_NC).astype(np.float64) * rarity(ids_NC))

    factor_T = square_T / np.maximum((risk(ids_NC) ** 2).mean(axis=0), 1e-12)

    def spread(ids_NC: Ids, mean_NT: Float32Array) -> Float32Array:
        own_NT = (logits(boosting.predict(ids_NC)) - logits(mean_NT)).astype(np.float64)
        rest_NT = factor_T * risk(ids_NC) ** 2
        variance_NT = (share_T * own_NT) ** 2 + (SHARED * share_T - share_T**2) * rest_NT
        return spread_of(mean_NT, np.sqrt(variance_NT).astype(np.float32))

    return SharedScoreEstimator(lab, spread)


def confirmed_share(held: HeldOut, targets_NT: Float32Array) -> Doubles:
    """The share a of the squared difference that the labels confirm, within ``SHARE``, (T,).

    Args:
        held: Scores of rows by models that were fitted without them.
        targets_NT: Their labels; NaN where masked or outside the task's population.
    """
    p_NT, difference_NT = held.net_NT.astype(np.float64), held.difference_NT.astype(np.float64)
    known_NT = ~np.isnan(targets_NT)
    gained_NT = np.where(known_NT, difference_NT * (targets_NT - p_NT), 0.0)
    possible_NT = np.where(known_NT, difference_NT**2 * p_NT * (1 - p_NT), 0.0)
    share_T = gained_NT.sum(axis=0) / np.maximum(possible_NT.sum(axis=0), 1e-12)
    return np.asarray(np.clip(share_T, *SHARE))
