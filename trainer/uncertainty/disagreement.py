"""Models of different kinds: where they disagree.

Nets of one kind share most of their error, which no spread among them can see; boosting errs
elsewhere. One difference says little about one request, since two models that are both wrong may
agree by chance. Its mean over requests alike says how far apart the two kinds are there:

    H(x) = E[ |logit b - logit p| | x ],    p the net's score, b boosting's,

learned from the training rows, each scored by models that were fitted without it.
"""

import numpy as np

from trainer.uncertainty.lab import Lab
from trainer.uncertainty.log_odds import spread_of
from trainer.uncertainty.method import Estimator, Float32Array, Ids
from trainer.uncertainty.shared_score import SharedScoreEstimator


def disagreement(lab: Lab) -> Estimator:
    """Half of H as the spread of the logit: the standard deviation of two that are H apart."""
    distance = lab.distance()

    def spread(ids_NC: Ids, mean_NT: Float32Array) -> Float32Array:
        return spread_of(mean_NT, distance.predict(ids_NC) / np.float32(2))

    return SharedScoreEstimator(lab, spread)
