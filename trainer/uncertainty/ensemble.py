"""Deep ensemble (Lakshminarayanan, Pritzel, Blundell 2017), plain and with random priors."""

from typing import Final

import torch

from models.nets.prior import PriorNet
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Estimator
from trainer.uncertainty.sampled import SampledEstimator

MEMBERS: Final = 5
PRIOR_ROWS: Final = 2048
"""Rows over which the outputs of the random nets are standardised."""


def ensemble(lab: Lab) -> Estimator:
    """Mean and standard deviation of the probability over 5 nets that differ in their seed."""
    nets = [lab.single_net, *(lab.fit_net("net", member) for member in range(1, MEMBERS))]
    return SampledEstimator(nets[0], [dict(net.named_parameters()) for net in nets])


def priors(lab: Lab) -> Estimator:
    """The same over 5 nets, each added to a random net that is never trained (Osband et al. 2018).

    Where there are no rows, the sum keeps the shape of its prior, and the members differ.
    """
    ids_NC = torch.from_numpy(lab.rows.ids_NC[:PRIOR_ROWS])
    nets = [
        lab.fit(lambda: PriorNet(lab.layout, lab.tasks, lab.config, ids_NC), "prior net", member)
        for member in range(MEMBERS)
    ]
    return SampledEstimator(nets[0], [dict(net.named_parameters()) for net in nets])
