"""Methods that take the spread over M weight sets of one net as uncertainty."""

from collections.abc import Sequence

import torch
from torch import nn

from models.nets.weight_sets import Weights, predict_moments
from trainer.uncertainty.method import Ids, Prediction


class SampledEstimator:
    """Mean and spread of the probabilities over weight sets.

    Args:
        net: Net that maps ids to logits.
        samples: The M weight sets.
    """

    def __init__(self, net: nn.Module, samples: Sequence[Weights]) -> None:
        self.net = net
        self.samples = samples

    def predict(self, ids_NC: Ids) -> Prediction:
        """Predict scores and spreads."""
        mean_NT, std_NT = predict_moments(self.net, self.samples, torch.from_numpy(ids_NC))
        return Prediction.of(mean_NT.numpy(), std_NT.numpy())
