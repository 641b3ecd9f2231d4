"""Mean disagreement of two kinds of models, net and boosting.

Nets of one kind share most of their error, so the spread among them does not show it; the errors of
boosting are others. A single difference is noisy, since two models that are both wrong may agree by
chance. So its mean over similar requests is used:

    H(x) = E[ |logit b - logit p| | x ],    p the net's score, b boosting's,

learned by boosting from the training rows, each scored by models fitted without it.
"""

import numpy as np

from trainer.uncertainty.lab import Lab
from trainer.uncertainty.log_odds import spread_of
from trainer.uncertainty.method import Estimator, Float32Array, Ids
from trainer.uncertainty.shared_score import SharedScoreEstimator


def disagreement(lab: Lab) -> Estimator:
    """H / 2 as the spread of the logit: the standard deviation of two logits that differ by H."""
    distance = lab.distance()

    def spread(ids_NC: Ids, mean_NT: Float32Array) -> Float32Array:
        return spread_of(mean_NT, distance.predict(ids_NC) / np.float32(2))

    return SharedScoreEstimator(lab, spread)
