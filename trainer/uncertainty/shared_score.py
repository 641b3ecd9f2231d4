"""Methods that say how unsure the teacher's score is, and leave the score as it is."""

from collections.abc import Callable

from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Float32Array, Ids, Prediction

Spread = Callable[[Ids, Float32Array], Float32Array]
"""Epistemic spread (N, T) of requests, given the teacher's scores for them."""


class SharedScoreEstimator:
    """The teacher's mean as the score, with a spread found otherwise.

    Args:
        lab: Whose teacher scores.
        spread: Finds the spread.
    """

    def __init__(self, lab: Lab, spread: Spread) -> None:
        self.lab = lab
        self.spread = spread

    def predict(self, ids_NC: Ids) -> Prediction:
        """Scores and spreads of these requests."""
        mean_NT = self.lab.scores(ids_NC)
        return Prediction.of(mean_NT, self.spread(ids_NC, mean_NT))
