"""Customized gate control, one level of progressive layered extraction (Tang et al., RecSys 2020).

N requests, E experts, T tasks, H expert width, B = shared + 1 experts that a gate mixes.
"""

import torch
from torch import Tensor, nn

from models.nets.backbone import Backbone, Shape
from models.nets.config import TeacherConfig


class Cgc(Backbone):
    """Shared experts receive the gradients of all tasks, each task has its own expert as well.

    A gate per task mixes the shared experts with its own: h_t = f_t(h_t, g_shared) (DAUM, eq. 28).
    """

    def __init__(self, shape: Shape, config: TeacherConfig) -> None:
        super().__init__(shape, config)
        self.gates = nn.Linear(self.inputs, shape.tasks * (config.shared_experts + 1))
        self.experts = self.make_experts(config.shared_experts + shape.tasks)

    def forward(self, x_NI: Tensor, scenarios_NL: Tensor) -> Tensor:
        """The input of each task's tower, (T, N, H)."""
        del scenarios_NL
        gates_NTB = self.gates(x_NI).unflatten(1, (self.shape.tasks, -1)).softmax(2)
        return mixed(gates_NTB, self.experts(x_NI))


def mixed(gates_NTB: Tensor, experts_ENH: Tensor) -> Tensor:
    """Each task's mixture of the shared experts and its own, (T, N, H).

    Args:
        gates_NTB: Weights of the shared experts, and of the task's own.
        experts_ENH: The shared experts, followed by one per task.
    """
    shared = gates_NTB.shape[2] - 1
    shared_TNH = torch.einsum("ntb,bnh->tnh", gates_NTB[:, :, :-1], experts_ENH[:shared])
    own_TNH = gates_NTB[:, :, -1].T.unsqueeze(2) * experts_ENH[shared:]
    return shared_TNH + own_TNH
