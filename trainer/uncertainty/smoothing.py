"""Conditional means of a positive quantity, learned by boosting, to smooth a noisy spread."""

from dataclasses import dataclass
from typing import Any, Final

import lightgbm as lgb
import numpy as np

from trainer.uncertainty.boosting import ENGINE
from trainer.uncertainty.method import Float32Array, Ids

ROUNDS: Final = 150
SMALLEST: Final = 0.01
"""Least prediction, as a share of the mean: a sum of trees may fall below 0."""
PARAMETERS: Final[dict[str, Any]] = ENGINE | {
    "objective": "regression",
    "learning_rate": 0.1,
    "num_leaves": 8,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.5,
    "lambda_l2": 10.0,
}


@dataclass(frozen=True, slots=True)
class Smoother:
    """Boosters that predict conditional means.

    Attributes:
        boosters: One booster per task.
        least_T: Least prediction.
    """

    boosters: tuple[lgb.Booster, ...]
    least_T: Float32Array

    def predict(self, ids_NC: Ids) -> Float32Array:
        """Predict conditional means (N, T), above 0."""
        means_NT = np.stack([booster.predict(ids_NC) for booster in self.boosters], axis=1)
        held_NT: Float32Array = np.maximum(means_NT, self.least_T).astype(np.float32)
        return held_NT


def fit_smoother(ids_NC: Ids, values_NT: Float32Array, seed: int) -> Smoother:
    """Learn the mean of the non-negative ``values_NT``, given the ids."""
    boosters = []
    for values_N in values_NT.T:
        rows = lgb.Dataset(ids_NC.astype(np.float32), np.ascontiguousarray(values_N))
        boosters.append(lgb.train(PARAMETERS | {"seed": seed % 2**31}, rows, ROUNDS))
    least_T = np.maximum(SMALLEST * values_NT.mean(axis=0), 1e-6).astype(np.float32)
    return Smoother(tuple(boosters), least_T)
