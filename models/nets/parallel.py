"""Parallel layers: E linear layers of one shape as one batched product, and dropout for them.

N requests, E layers, I inputs, O outputs.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class ParallelLinear(nn.Module):
    """E linear layers of one shape in parallel, each with its own input.

    Args:
        count: E.
        inputs: I.
        outputs: O.
        keep_scale: Whether initial weights keep the scale of values through a ReLU (He et al.
            2015), as deep nets need; else they are those of ``nn.Linear``, which shrink it.
    """

    def __init__(self, count: int, inputs: int, outputs: int, *, keep_scale: bool = False) -> None:
        super().__init__()
        bound = math.sqrt(6 / inputs) if keep_scale else 1 / math.sqrt(inputs)
        self.weight_EIO = nn.Parameter(torch.empty(count, inputs, outputs).uniform_(-bound, bound))
        self.bias_E1O = nn.Parameter(torch.zeros(count, 1, outputs))

    def forward(self, x_ENI: Tensor) -> Tensor:
        """Outputs of shape (E, N, O)."""
        return torch.baddbmm(self.bias_E1O, x_ENI, self.weight_EIO)


class UnitDropout(nn.Module):
    """Dropout of units in training; afterwards a fixed mask over units, the same for all requests.

    A fixed mask is a sample of the net, like a set of weights (Gal & Ghahramani 2016), and belongs
    to a weight set under the name of its buffer. It is initially 1: nothing is dropped.

    Args:
        rate: Share of the units that are dropped.
        count: E.
        units: O.
    """

    keep_E1O: Tensor

    def __init__(self, rate: float, count: int, units: int) -> None:
        super().__init__()
        self.rate = rate
        self.register_buffer("keep_E1O", torch.ones(count, 1, units))

    def forward(self, x_ENO: Tensor) -> Tensor:
        """The input with some units set to zero and the others scaled up."""
        if self.training:
            return functional.dropout(x_ENO, self.rate)
        return x_ENO * self.keep_E1O

    def draw(self, generator: torch.Generator) -> Tensor:
        """Draw a mask of 0 and 1 / (1 - rate)."""
        uniform_E1O = torch.rand(self.keep_E1O.shape, generator=generator)
        return (uniform_E1O >= self.rate).float() / (1 - self.rate)
