"""A searched architecture (AutoMTL): feature interaction, heterogeneous experts, gates over some.

N requests, I inputs, H expert width, T tasks.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.backbone import Backbone, Shape
from models.nets.config import TeacherConfig
from models.nets.interaction import CrossNetwork, NoInteraction, SelfAttention


class AutoMtl(Backbone):
    """Experts of their own architectures; a gate per task mixes those that were selected for it.

    A task beyond those that the architecture lists has all experts.
    """

    def __init__(self, shape: Shape, config: TeacherConfig) -> None:
        super().__init__(shape, config)
        found = config.architecture
        count = len(found.experts)
        self.interaction = make_interaction(found.interaction, shape.features, config)
        self.experts = nn.ModuleList(
            nn.Sequential(
                Stem(self.inputs, config.expert),
                *(make_block(name, config.expert) for name in names),
            )
            for names in found.experts
        )
        self.selected = [
            tuple(found.selected[task]) if task < len(found.selected) else tuple(range(count))
            for task in range(shape.tasks)
        ]
        for task, numbers in enumerate(self.selected):
            if not numbers or min(numbers) < 0 or max(numbers) >= count:
                raise ValueError(
                    f"teacher.architecture.selected: task {task} has the experts {list(numbers)}; "
                    f"give it some from 0 to {count - 1}"
                )
        self.gates = nn.ModuleList(nn.Linear(self.inputs, len(each)) for each in self.selected)

    def forward(self, x_NI: Tensor, scenarios_NL: Tensor) -> Tensor:
        """The input of each task's tower, (T, N, H)."""
        del scenarios_NL
        x_NI = self.interaction(x_NI)
        experts_ENH = torch.stack([expert(x_NI) for expert in self.experts])
        read = []
        for gate, numbers in zip(self.gates, self.selected, strict=True):
            shares_NE = gate(x_NI).softmax(1)
            read.append(torch.einsum("ne,enh->nh", shares_NE, experts_ENH[list(numbers)]))
        return torch.stack(read)


class Stem(nn.Module):
    """The first layer of an expert: from the embedded request to its width."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, width)

    def forward(self, x_NI: Tensor) -> Tensor:
        """Values of shape (N, H)."""
        values_NH: Tensor = self.linear(x_NI).relu()
        return values_NH


class Gate(nn.Module):
    """Bit-level gating (GateNet, Huang et al. 2020): each unit times a gate of all units."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x_NH: Tensor) -> Tensor:
        """Values of the same shape."""
        gated_NH: Tensor = x_NH * self.linear(x_NH).sigmoid()
        return gated_NH


class Mlp(nn.Module):
    """Two layers with a hidden width of their own."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(inputs, hidden), nn.Linear(hidden, inputs)
        for layer in (self.hidden, self.out):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")

    def forward(self, x_NH: Tensor) -> Tensor:
        """Values of the same shape."""
        values_NH: Tensor = self.out(self.hidden(x_NH).relu()).relu()
        return values_NH


class Convolution(nn.Module):
    """A one-dimensional convolution over the units."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.weight_11K = nn.Parameter(torch.empty(1, 1, size).uniform_(-1, 1) * size**-0.5)
        self.bias_1 = nn.Parameter(torch.zeros(1))

    def forward(self, x_NH: Tensor) -> Tensor:
        """Values of the same shape."""
        values_N1H = functional.conv1d(
            x_NH.unsqueeze(1), self.weight_11K, self.bias_1, padding=self.size // 2
        )
        return values_N1H.squeeze(1).relu()


def make_block(name: str, width: int) -> nn.Module:
    """The block of this name, of ``BLOCKS``."""
    if name == "skip":
        return nn.Identity()
    if name == "gate":
        return Gate(width)
    kind, _, size = name.partition("-")
    return Convolution(int(size)) if kind == "conv" else Mlp(width, int(size))


def make_interaction(name: str, features: int, config: TeacherConfig) -> nn.Module:
    """The interaction of this name, of ``SEARCHED_INTERACTIONS``: (N, I) to (N, I)."""
    if name == "none":
        return NoInteraction(features, config)
    if name == "cross":
        return CrossNetwork(features, config)
    if name == "attention":
        return SelfAttention(features, config)
    return Mlp(features * config.embedding, config.expert)
