"""MC dropout (Gal & Ghahramani 2016): dropped units as draws from a posterior over nets."""

from dataclasses import replace
from typing import Final

import torch

from models.nets.parallel import UnitDropout
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Estimator
from trainer.uncertainty.sampled import SampledEstimator

RATE: Final = 0.1
MASKS: Final = 20


def mc_dropout(lab: Lab) -> Estimator:
    """Standard deviation of the probability over 20 masks, each held for all requests.

    A mask that is the same for all requests is one net drawn from the variational posterior (their
    eq. 8), so that the spread of a request does not depend on the batch that it is scored in. The
    net is trained with a tenth of the units dropped.
    """
    net = lab.fit_net("dropout net", config=replace(lab.config, dropout=RATE))
    generator = torch.Generator().manual_seed(lab.seed_of("dropout masks"))
    layers = [
        (name, layer) for name, layer in net.named_modules() if isinstance(layer, UnitDropout)
    ]
    masks = [
        {f"{name}.keep_E1O": layer.draw(generator) for name, layer in layers} for _ in range(MASKS)
    ]
    return SampledEstimator(net, masks)
