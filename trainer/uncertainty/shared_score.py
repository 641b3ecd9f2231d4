"""Methods that say how unsure the teacher's score is, and leave the score as it is."""

from collections.abc import Callable

import numpy as np
import torch

from models.nets.logistic_normal import sigmoid_moments
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Floats, Ids, Prediction

Spread = Callable[[Ids, Floats], Floats]
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


def logits(scores_NT: Floats) -> Floats:
    """Log odds of probabilities, those next to 0 and 1 held apart from them."""
    held_NT = np.clip(scores_NT.astype(np.float64), 1e-6, 1 - 1e-6)
    logits_NT: Floats = np.log(held_NT / (1 - held_NT)).astype(np.float32)
    return logits_NT


def spread_of(mean_NT: Floats, logit_std_NT: Floats) -> Floats:
    """Standard deviation of the probability whose logit is normal about that of the mean."""
    _, std_NT = sigmoid_moments(
        torch.from_numpy(logits(mean_NT)), torch.from_numpy(logit_std_NT.astype(np.float32)) ** 2
    )
    spread_NT: Floats = std_NT.numpy()
    return spread_NT
