"""Squared error estimated from the disagreement of two models that held-out labels confirm.

Let q be the true probability of a request, p the score of a net that was not fitted on it, b that
of boosting, y the label, s = p (1 - p), and d = logit b - logit p the difference of the two models.
Given q, the label is independent of p and b, so

    E[ d (y - p) / s | x ] = d (q - p) / s ~ d e,    e = logit q - logit p the net's error.

The square of a residual cannot replace it: for a binary label it is linear in y, and independent of
(q - p)^2 for p near 1/2 (see ``deup.py``). The product with a second model's difference is not:
where b is right it is e^2, and where b alone errs it is 0. Its mean over similar requests,

    G(x)^2 = E[ d e | x ],

is learned by boosting with early stopping on held-out rows, and used only if it predicts those
better than a constant (by ``CONFIDENT`` standard errors): rare labels are too few to confirm
anything.

Two other indicators of the error multiply it, like relative risks: the mean disagreement H(x)
(``disagreement.py``) and the spread C(x) that follows from the counts of the request's ids
(``count.py``). The product is scaled to the share of d^2 that the labels confirm, so that u is a
standard deviation.
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

VALIDATION_SHARE: Final = 0.2
"""Share of the rows held out for early stopping, and to test that G is better than a constant."""
PATIENCE: Final = 30
MAX_ROUNDS: Final = 500
CONFIDENT: Final = 3.0
"""Standard errors by which G has to predict better than a constant."""
EXTREME: Final = 0.001
"""Share of the products clipped at either end: for rare labels 1 / s is large."""
SHARE: Final = (0.05, 1.0)
"""Least and greatest share of d^2 that the labels are taken to confirm."""


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Model of G^2 of one task.

    Attributes:
        booster: Booster that predicts G^2.
        least: Least prediction.
    """

    booster: lgb.Booster
    least: float

    def predict(self, ids_NC: Ids) -> Doubles:
        """Predict G^2 of requests, (N,), above 0."""
        return np.maximum(np.asarray(self.booster.predict(ids_NC), np.float64), self.least)


def confirmed(lab: Lab) -> Estimator:
    """Spread of the logit: product of mean disagreement, rarity of the ids and, if fitted, G."""
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
    """Products d (y - p) / s, NaN where the label is NaN, and s; both (N, T)."""
    p_NT = lab.held_out().net_NT.astype(np.float64)
    noise_NT = np.maximum(p_NT * (1 - p_NT), 1e-6)
    return difference_NT * (lab.rows.targets_NT - p_NT) / noise_NT, noise_NT


def fit_confirmed(ids_NC: Ids, products_N: Doubles, seed: int) -> Confirmed | None:
    """Fit G^2 to the products of one task; None if it predicts no better than a constant.

    Args:
        ids_NC: Feature ids.
        products_N: d (y - p) / s; NaN where the label is unknown.
        seed: Seed of everything random.
    """
    known_N = ~np.isnan(products_N)
    ids_NC, products_N = ids_NC[known_N].astype(np.float32), products_N[known_N]
    validation_N = np.random.default_rng(seed).random(len(products_N)) < VALIDATION_SHARE
    if min(validation_N.sum(), (~validation_N).sum()) < PARAMETERS["min_data_in_leaf"]:
        return None
    cut_N = np.clip(products_N, *np.quantile(products_N, [EXTREME, 1 - EXTREME]))
    parameters = PARAMETERS | {"num_leaves": 4, "seed": seed % 2**31}
    learned, held = (
        lgb.Dataset(ids_NC[rows], cut_N[rows]) for rows in (~validation_N, validation_N)
    )
    booster: lgb.Booster = lgb.train(
        parameters,
        learned,
        MAX_ROUNDS,
        valid_sets=[held],
        callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
    )
    mean = float(cut_N[~validation_N].mean())
    predicted_N, true_N = np.asarray(booster.predict(ids_NC[validation_N])), cut_N[validation_N]
    better_N = (true_N - mean) ** 2 - (true_N - predicted_N) ** 2
    error = float(better_N.std() / np.sqrt(len(better_N)))
    if mean <= 0 or better_N.mean() < CONFIDENT * error:
        return None
    return Confirmed(booster, SMALLEST * mean)


def _level(
    products_NT: Doubles, noise_NT: Doubles, difference_NT: Doubles, risk_NT: Doubles
) -> Doubles:
    """Logarithm of the factor that turns relative risks into spreads, (T,).

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
