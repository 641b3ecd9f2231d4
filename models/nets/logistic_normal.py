"""Mean and standard deviation of sigmoid(z) for a normal z, by Gauss-Hermite quadrature.

It has an error of at most 1e-4 for standard deviations of z up to 4, less than the probit
approximation (MacKay 1992).
"""

import numpy as np
import torch
from torch import Tensor

NODES = 24
_points, _weights = np.polynomial.hermite_e.hermegauss(NODES)
POINTS_J = torch.from_numpy(_points).float()
WEIGHTS_J = torch.from_numpy(_weights / _weights.sum()).float()
"""Nodes and weights for the expectation over a standard normal."""


def sigmoid_moments(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of sigmoid(z), z ~ Normal(mean, variance); shapes as given."""
    z_J = mean.unsqueeze(-1) + variance.sqrt().unsqueeze(-1) * POINTS_J.to(mean)
    probabilities_J, weights_J = z_J.sigmoid(), WEIGHTS_J.to(mean)
    first = probabilities_J @ weights_J
    return first, ((probabilities_J - first.unsqueeze(-1)) ** 2 @ weights_J).sqrt()


def log_sigmoid_mean(mean: Tensor, variance: Tensor) -> Tensor:
    """Logarithm of E[sigmoid(z)]; with ``-mean`` that of E[1 - sigmoid(z)]."""
    z_J = mean.unsqueeze(-1) + variance.sqrt().unsqueeze(-1) * POINTS_J.to(mean)
    logarithm: Tensor = (torch.nn.functional.logsigmoid(z_J) + WEIGHTS_J.to(mean).log()).logsumexp(
        -1
    )
    return logarithm
