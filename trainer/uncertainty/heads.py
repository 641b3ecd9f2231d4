"""Methods in which one net predicts its own spread, by a head with two outputs per task."""

import numpy as np
import torch

from models.nets.heads import EVIDENTIAL, GAUSSIAN, Head
from models.nets.teacher import TeacherNet
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Estimator, Ids, Prediction

BATCH = 8192


class HeadEstimator:
    """Moments of the probability that a head's outputs parametrise.

    Args:
        net: Net that was trained with the head.
        head: Interpretation of its outputs.
    """

    def __init__(self, net: TeacherNet, head: Head) -> None:
        self.net = net
        self.head = head

    @torch.no_grad()
    def predict(self, ids_NC: Ids) -> Prediction:
        """Predict scores and spreads."""
        moments = [
            self.head.moments(self.net.outputs(ids_BC))
            for ids_BC in torch.split(torch.from_numpy(ids_NC), BATCH)
        ]
        mean_NT, std_NT = (np.concatenate(part) for part in zip(*moments, strict=True))
        return Prediction.of(mean_NT, std_NT)


def gaussian(lab: Lab) -> Estimator:
    """Normal logit with a learned variance (Kendall & Gal 2017): the spread of its sigmoid."""
    return HeadEstimator(lab.fit_net("gaussian net", head=GAUSSIAN), GAUSSIAN)


def evidential(lab: Lab) -> Estimator:
    """Evidential deep learning (Sensoy et al. 2018): the spread of a Beta over p."""
    return HeadEstimator(lab.fit_net("evidential net", head=EVIDENTIAL), EVIDENTIAL)
