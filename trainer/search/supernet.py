"""The net that contains all architectures: every choice is a mixture of all its candidates.

N requests, T tasks, E experts, B blocks of an expert, O candidates of a block, H expert width.
"""

from typing import Final

import torch
from torch import Tensor, nn

from models.nets.backbone import Backbone, Shape
from models.nets.config import BLOCKS, SEARCHED_INTERACTIONS, Architecture, TeacherConfig
from models.nets.kinds.automtl import Stem, make_block, make_interaction

ARCHITECTURE: Final = "architecture"
"""Prefix of the names of the parameters that the validation rows train."""


class SuperNet(Backbone):
    """Mixtures over candidates with softmax weights (AutoMTL, section 3.4.1).

    Args:
        shape: What it is made for.
        config: Widths; the kind does not matter.
        experts: E.
        blocks: B.

    Attributes:
        skip_weight: Weight of a skip connection around each block, which decays to 0 during the
            search, so that skipping is not chosen for its gradients (DARTS-, section 4.1.4).
    """

    def __init__(self, shape: Shape, config: TeacherConfig, experts: int, blocks: int) -> None:
        super().__init__(shape, config)
        self.interactions = nn.ModuleList(
            make_interaction(name, shape.features, config) for name in SEARCHED_INTERACTIONS
        )
        self.stems = nn.ModuleList(Stem(self.inputs, config.expert) for _ in range(experts))
        self.depth = blocks
        self.blocks = nn.ModuleList(
            nn.ModuleList(make_block(name, config.expert) for name in BLOCKS)
            for _ in range(experts * blocks)
        )
        self.architecture_interaction_O = nn.Parameter(torch.zeros(len(SEARCHED_INTERACTIONS)))
        self.architecture_blocks_EBO = nn.Parameter(torch.zeros(experts, blocks, len(BLOCKS)))
        self.selection_TE = nn.Parameter(torch.zeros(shape.tasks, experts))
        self.skip_weight = 1.0

    def forward(self, x_NI: Tensor, scenarios_NL: Tensor) -> Tensor:
        """The input of each task's tower, (T, N, H)."""
        del scenarios_NL
        weights_O = self.architecture_interaction_O.softmax(0)
        x_NI = sum_of(weights_O, [one(x_NI) for one in self.interactions])
        weights_EBO = self.architecture_blocks_EBO.softmax(2)
        experts = []
        for expert, stem in enumerate(self.stems):
            values_NH = stem(x_NI)
            for block in range(self.depth):
                candidates = self.blocks[expert * self.depth + block]
                values = [one(values_NH) for one in candidates.children()]
                mixed_NH = sum_of(weights_EBO[expert, block], values)
                values_NH = mixed_NH + self.skip_weight * values_NH
            experts.append(values_NH)
        return torch.einsum("te,enh->tnh", self.selection_TE.softmax(1), torch.stack(experts))

    def divergence(self) -> Tensor:
        """The negative Jensen-Shannon divergence of the tasks' selections, a scalar (3.4.2)."""
        p_TE = self.selection_TE.softmax(1)
        mean_E = p_TE.mean(0)
        own_T = (p_TE * p_TE.log()).sum(1)
        return (mean_E * mean_E.log()).sum() - own_T.mean()

    @torch.no_grad()
    def found(self, selected: int) -> Architecture:
        """The strongest candidate of each choice, and this number of experts for each task."""
        interaction = SEARCHED_INTERACTIONS[int(self.architecture_interaction_O.argmax())]
        experts = tuple(
            tuple(BLOCKS[number] for number in row)
            for row in self.architecture_blocks_EBO.argmax(2)
        )
        count = min(selected, len(experts))
        chosen = [sorted(row.topk(count).indices.tolist()) for row in self.selection_TE]
        return Architecture(interaction, experts, tuple(map(tuple, chosen)))  # type: ignore[arg-type]


def sum_of(weights_O: Tensor, values: list[Tensor]) -> Tensor:
    """The weighted sum of tensors of one shape."""
    return torch.stack([w * value for w, value in zip(weights_O, values, strict=True)]).sum(0)
