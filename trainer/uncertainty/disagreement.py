"""Models of different kinds: where they disagree, and what they say together."""

import numpy as np

from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Estimator, Floats, Ids
from trainer.uncertainty.shared_score import SharedScoreEstimator


def disagreement(lab: Lab) -> Estimator:
    """Half of |net - boosting|: the standard deviation of the two, around the net's score.

    Nets of one kind share most of their error, which no spread among them can see; boosting errs
    elsewhere.
    """
    boosting = lab.boosting()

    def spread(ids_NC: Ids, mean_NT: Floats) -> Floats:
        half_NT: Floats = np.abs(mean_NT - boosting.predict(ids_NC)) / 2
        return half_NT

    return SharedScoreEstimator(lab, spread)
