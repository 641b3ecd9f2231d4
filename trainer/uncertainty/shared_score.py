"""Methods that estimate the spread of the teacher's score and do not change the score."""

from collections.abc import Callable

from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Float32Array, Ids, Prediction

Spread = Callable[[Ids, Float32Array], Float32Array]
"""Epistemic spread (N, T) of requests, given the teacher's scores for them."""


class SharedScoreEstimator:
    """The teacher's mean as score, with the spread of another method.

    Args:
        lab: Lab with the teacher.
        spread: Function that gives the spread.
    """

    def __init__(self, lab: Lab, spread: Spread) -> None:
        self.lab = lab
        self.spread = spread

    def predict(self, ids_NC: Ids) -> Prediction:
        """Predict scores and spreads."""
        mean_NT = self.lab.scores(ids_NC)
        return Prediction.of(mean_NT, self.spread(ids_NC, mean_NT))
