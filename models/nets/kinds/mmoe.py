"""Multi-gate mixture of experts (Ma et al., KDD 2018).

N requests, E experts, T tasks, H expert width.
"""

import torch
from torch import Tensor, nn

from models.nets.backbone import Backbone, Shape
from models.nets.config import TeacherConfig


class Mmoe(Backbone):
    """All experts are shared; a gate per task mixes them: o_t = sum_i g_t[i] f_i (AESM2, eq. 1-4).

    There are as many experts as CGC has: the shared ones, and one more per task.
    """

    def __init__(self, shape: Shape, config: TeacherConfig) -> None:
        super().__init__(shape, config)
        count = config.shared_experts + shape.tasks
        self.gates = nn.Linear(self.inputs, shape.tasks * count)
        self.experts = self.make_experts(count)

    def forward(self, x_NI: Tensor, scenarios_NL: Tensor) -> Tensor:
        """The input of each task's tower, (T, N, H)."""
        del scenarios_NL
        gates_NTE = self.gates(x_NI).unflatten(1, (self.shape.tasks, -1)).softmax(2)
        return torch.einsum("nte,enh->tnh", gates_NTE, self.experts(x_NI))
