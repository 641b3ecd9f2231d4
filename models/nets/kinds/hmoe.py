"""Hybrid mixture of experts for several scenarios (Li et al. 2020, HMoE).

N requests, S scenarios, T tasks, H expert width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.backbone import Backbone, Scenarios, Shape
from models.nets.config import TeacherConfig


class Hmoe(Backbone):
    """An expert per task and scenario; a gate mixes the scenarios' experts.

    A request trains the expert of its own scenario and the gate; the gradient to the experts of the
    other scenarios is cut. Tasks have experts of their own: HMoE keeps a model per task.
    """

    def __init__(self, shape: Shape, config: TeacherConfig) -> None:
        super().__init__(shape, config)
        self.scenarios = Scenarios(shape.scenarios)
        self.gates = nn.Linear(self.inputs, shape.tasks * self.scenarios.count)
        self.experts = self.make_experts(shape.tasks * self.scenarios.count)

    def forward(self, x_NI: Tensor, scenarios_NL: Tensor) -> Tensor:
        """The input of each task's tower, (T, N, H)."""
        at_N, count = self.scenarios(scenarios_NL), self.scenarios.count
        experts_TSNH = self.experts(x_NI).unflatten(0, (self.shape.tasks, count))
        own_SN1 = functional.one_hot(at_N, count).T.unsqueeze(2)
        kept_TSNH = torch.where(own_SN1 > 0, experts_TSNH, experts_TSNH.detach())
        gates_NTS = self.gates(x_NI).unflatten(1, (self.shape.tasks, count)).softmax(2)
        return torch.einsum("nts,tsnh->tnh", gates_NTS, kept_TSNH)
