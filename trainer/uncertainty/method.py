"""Interface of the uncertainty methods: fitted on labelled rows, they predict scores and spreads.

N requests, C columns of ids, T tasks. All spreads are standard deviations of probabilities.
"""

from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rows:
    """Labelled requests.

    Attributes:
        ids_NC: Feature ids.
        targets_NT: Labels in {0, 1}; NaN where masked or outside the task's population.
    """

    ids_NC: Ids
    targets_NT: Float32Array

    def __len__(self) -> int:
        return len(self.ids_NC)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Scores of N requests, each on its task's own population, and their uncertainties.

    Attributes:
        mean_NT: Probabilities.
        epistemic_NT: Spread that more data would reduce; the student learns it as u.
        aleatoric_NT: Spread of the label itself under the model, sqrt(E[p (1 - p)]).
    """

    mean_NT: Float32Array
    epistemic_NT: Float32Array
    aleatoric_NT: Float32Array

    @classmethod
    def of(cls, mean_NT: Float32Array, epistemic_NT: Float32Array) -> Self:
        """Make a prediction of mean and epistemic spread of p.

        The aleatoric spread follows from the law of total variance:

        E[p (1 - p)] = E[p] (1 - E[p]) - Var[p], not below 0.
        """
        aleatoric_NT: Float32Array = np.sqrt(
            np.maximum(mean_NT * (1 - mean_NT) - epistemic_NT**2, 0)
        )
        return cls(mean_NT, epistemic_NT, aleatoric_NT)

    @property
    def total_NT(self) -> Float32Array:
        """Total spread, epistemic and aleatoric (law of total variance)."""
        total_NT: Float32Array = np.sqrt(self.epistemic_NT**2 + self.aleatoric_NT**2)
        return total_NT


class Estimator(Protocol):
    """A fitted method."""

    def predict(self, ids_NC: Ids) -> Prediction:
        """Predict scores and spreads."""
