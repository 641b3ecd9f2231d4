"""Cross-stitch networks (Misra et al., CVPR 2016).

N requests, T tasks, H expert width.
"""

import torch
from torch import Tensor, nn

from models.nets.backbone import Backbone, Shape
from models.nets.config import TeacherConfig
from models.nets.parallel import ParallelLinear

OWN = 0.9
"""Initial share of a task's own values; the other tasks share the rest (their section 5.1)."""


class CrossStitch(Backbone):
    """A net per task; after every layer each task reads a learned mixture of all (their eq. 1)."""

    def __init__(self, shape: Shape, config: TeacherConfig) -> None:
        super().__init__(shape, config)
        tasks, levels = shape.tasks, config.levels
        self.experts = self.make_experts(tasks)
        self.layers = nn.ModuleList(
            ParallelLinear(tasks, config.expert, config.expert, keep_scale=True)
            for _ in range(levels - 1)
        )
        other = (1 - OWN) / max(tasks - 1, 1)
        stitch_TT = torch.full((tasks, tasks), other).fill_diagonal_(OWN if tasks > 1 else 1.0)
        self.stitches_LTT = nn.Parameter(stitch_TT.repeat(levels, 1, 1))

    def forward(self, x_NI: Tensor, scenarios_NL: Tensor) -> Tensor:
        """The input of each task's tower, (T, N, H)."""
        del scenarios_NL
        values_TNH = self._stitched(0, self.experts(x_NI))
        for number, layer in enumerate(self.layers, 1):
            values_TNH = self._stitched(number, layer(values_TNH).relu())
        return values_TNH

    def _stitched(self, number: int, values_TNH: Tensor) -> Tensor:
        return torch.einsum("tu,unh->tnh", self.stitches_LTT[number], values_TNH)
