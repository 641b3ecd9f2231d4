"""The blend of two scores: the mean of the net's and the boosting's probabilities."""

from collections.abc import Callable

import numpy as np

from trainer.uncertainty.boosting import Boosting
from trainer.uncertainty.method import Float32Array, Ids, Prediction


class BlendEstimator:
    """Mean and standard deviation of two probabilities.

    Args:
        net: Function from ids to the net's scores (N, T).
        boosting: Boosting that was fitted on the same rows.
    """

    def __init__(self, net: Callable[[Ids], Float32Array], boosting: Boosting) -> None:
        self.net = net
        self.boosting = boosting

    def predict(self, ids_NC: Ids) -> Prediction:
        """Predict scores and spreads."""
        both_2NT = np.stack([self.net(ids_NC), self.boosting.predict(ids_NC)])
        mean_NT: Float32Array = both_2NT.mean(axis=0)
        return Prediction.of(mean_NT, both_2NT.std(axis=0))
