"""Disagreement that held-out labels confirm: a direct estimate of the squared error.

Let q be the true probability of a request, p the score of a net that was not fitted on it, b that
of boosting, y the label, s = p (1 - p), and d = logit b - logit p how far the second opinion is
from the first. The label is noise about q that knows nothing of p and b, so

    E[ d (y - p) / s | x ] = d (q - p) / s ~ d e,    e = logit q - logit p the net's error.

No square of a residual comes near this: of a binary label it is linear in y, and says nothing about
(q - p)^2 for p near 1/2 (see ``deup.py``). The product with a second opinion does. Where b knows
better, it is e^2; where b is the one that errs, it is 0. Its mean over requests alike,

    G(x)^2 = E[ d e | x ],

is learned by boosting, which stops by rows held out and is only used where it predicts those better
than a constant does (``CONFIDENT`` standard errors): rare labels are too few to confirm anything.

What else is known about the error multiplies it, as relative risks do: the mean disagreement H(x)
(``disagreement.py``) and the spread C(x) that follows from how often the request's ids were seen
(``count.py``). The level is that of the confirmed disagreement, the share of d^2 that the labels
confirm, so that u is a standard deviation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from trainer.uncertainty.count import logit_spread
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.log_odds import spread_of
from trainer.uncertainty.method import Estimator, Float32Array, Ids
from trainer.uncertainty.shared_score import SharedScoreEstimator
from trainer.uncertainty.smoothing import PARAMETERS, SMALLEST

Doubles = npt.NDArray[np.float64]

JUDGED: Final = 0.2
"""Share of the rows that says when to stop, and whether labels confirm anything."""
PATIENCE: Final = 30
MAX_ROUNDS: Final = 500
CONFIDENT: Final = 3.0
"""Standard errors by which G has to predict better than a constant."""
EXTREME: Final = 0.001
"""Share of the products on either side that is cut off: for rare labels 1 / s is large."""
SHARE: Final = (0.05, 1.0)
"""What the labels may be found to confirm of d^2, at least and at most."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """G^2 of one task.

    Attributes:
        booster: Gives it.
        least: Least prediction.
    """

    booster: lgb.Booster
    least: float

    def predict(self, ids_NC: Ids) -> Doubles:
        """G^2 of requests, (N,), above 0."""
        return np.maximum(np.asarray(self.booster.predict(ids_NC), np.float64), self.least)


def confirmed(lab: Lab) -> Estimator:
    """Spread of the logit: mean disagreement, rarity of the ids and, where known, G, pooled."""
    ids_NC = lab.rows.ids_NC
    difference_NT = lab.held_out().difference_NT.astype(np.float64)
    products_NT, noise_NT = confirmations(lab, difference_NT)
    found = [
        fit_confirmed(ids_NC, products_N, lab.seed_of("confirmed", task))
        for task, products_N in enumerate(products_NT.T)
    ]
    distance, rarity = lab.distance(), logit_spread(lab)

    def risk(ids_NC: Ids) -> Doubles:
        """Relative spread of the logit, (N, T), on a logarithmic scale."""
        log_NT = np.log(distance.predict(ids_NC)) + np.log(rarity(ids_NC))
        for task, each in enumerate(found):
            if each is not None:
                log_NT[:, task] += np.log(each.predict(ids_NC)) / 2
        return log_NT.astype(np.float64)

    level_T = _level(products_NT, noise_NT, difference_NT, risk(ids_NC))
    return SharedScoreEstimator(lab, _spread(risk, level_T))


def confirmations(lab: Lab, difference_NT: Doubles) -> tuple[Doubles, Doubles]:
    """Products d (y - p) / s, NaN where the label is, and s; both (N, T)."""
    p_NT = lab.held_out().net_NT.astype(np.float64)
    noise_NT = np.maximum(p_NT * (1 - p_NT), 1e-6)
    return difference_NT * (lab.rows.targets_NT - p_NT) / noise_NT, noise_NT


def fit_confirmed(ids_NC: Ids, products_N: Doubles, seed: int) -> Confirmed | None:
    """G^2 by the products of one task; None where they confirm nothing that varies.

    Args:
        ids_NC: Feature ids.
        products_N: d (y - p) / s; NaN where the label is unknown.
        seed: Seed of everything random.
    """
    known_N = ~np.isnan(products_N)
    ids_NC, products_N = ids_NC[known_N].astype(np.float32), products_N[known_N]
    judged_N = np.random.default_rng(seed).random(len(products_N)) < JUDGED
    if min(judged_N.sum(), (~judged_N).sum()) < PARAMETERS["min_data_in_leaf"]:
        return None
    cut_N = np.clip(products_N, *np.quantile(products_N, [EXTREME, 1 - EXTREME]))
    parameters = PARAMETERS | {"num_leaves": 4, "seed": seed % 2**31}
    learned, judged = (lgb.Dataset(ids_NC[rows], cut_N[rows]) for rows in (~judged_N, judged_N))
    booster: lgb.Booster = lgb.train(
        parameters,
        learned,
        MAX_ROUNDS,
        valid_sets=[judged],
        callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
    )
    mean = float(cut_N[~judged_N].mean())
    said_N, true_N = np.asarray(booster.predict(ids_NC[judged_N])), cut_N[judged_N]
    better_N = (true_N - mean) ** 2 - (true_N - said_N) ** 2
    error = float(better_N.std() / np.sqrt(len(better_N)))
    if mean <= 0 or better_N.mean() < CONFIDENT * error:
        return None
    return Confirmed(booster, SMALLEST * mean)


def _level(
    products_NT: Doubles, noise_NT: Doubles, difference_NT: Doubles, risk_NT: Doubles
) -> Doubles:
    """Logarithm of what turns relative risks into spreads, (T,).

    The mean variance is a E[d^2], with a the share of d^2 that the labels confirm: the first step
    of a logistic regression of the label on d, with the score as its offset.
    """
    known_NT = ~np.isnan(products_NT)
    confirmed_T = np.where(known_NT, noise_NT * products_NT, 0).sum(axis=0)
    possible_T = np.where(known_NT, noise_NT * difference_NT**2, 0).sum(axis=0)
    share_T = np.clip(confirmed_T / np.maximum(possible_T, 1e-12), *SHARE)
    variance_T = np.maximum(share_T * (difference_NT**2).mean(axis=0), 1e-12)
    level_T: Doubles = (np.log(variance_T) - np.log(np.exp(2 * risk_NT).mean(axis=0))) / 2
    return level_T


def _spread(
    risk: Callable[[Ids], Doubles], level_T: Doubles
) -> Callable[[Ids, Float32Array], Float32Array]:
    def spread(ids_NC: Ids, mean_NT: Float32Array) -> Float32Array:
        return spread_of(mean_NT, np.exp(risk(ids_NC) + level_T).astype(np.float32))

    return spread
