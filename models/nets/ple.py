"""The teacher: progressive layered extraction (Tang et al., RecSys 2020) with MLP experts.

Shared experts see every task's gradient, each task has an expert of its own, and a gate per task
mixes the shared ones with its own before its tower (DAUM, eq. 28).

N requests, I inputs, E experts, H expert width, T tasks, B = shared + 1 experts that a gate mixes,
W tower width.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.nets.embedding import FeatureEmbedding, FeatureLayout


@dataclass(frozen=True, slots=True)
class PleConfig:
    """Sizes of the teacher.

    Attributes:
        embedding: Width of a feature's vector.
        shared_experts: Experts that all tasks share.
        expert: Width of an expert's two layers (H).
        tower: Width of a task's tower (W).
    """

    embedding: int = 8
    shared_experts: int = 3
    expert: int = 32
    tower: int = 16


class ParallelLinear(nn.Module):
    """E linear layers of one shape side by side, each on an input of its own."""

    def __init__(self, count: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(inputs)
        self.weight_EIO = nn.Parameter(torch.empty(count, inputs, outputs).uniform_(-bound, bound))
        self.bias_E1O = nn.Parameter(torch.zeros(count, 1, outputs))

    def forward(self, x_ENI: Tensor) -> Tensor:
        """Outputs of shape (E, N, O)."""
        return torch.baddbmm(self.bias_E1O, x_ENI, self.weight_EIO)


class Ple(nn.Module):
    """Multi-task net: feature ids in, one logit per task out.

    Args:
        layout: Where the features lie.
        tasks: T.
        config: Sizes.
    """

    def __init__(self, layout: FeatureLayout, tasks: int, config: PleConfig) -> None:
        super().__init__()
        self.tasks = tasks
        self.shared = config.shared_experts
        self.width = config.expert
        self.embedding = FeatureEmbedding(layout, config.embedding)
        inputs, experts = self.embedding.out_width, self.shared + tasks
        self.gates = nn.Linear(inputs, tasks * (self.shared + 1))
        self.expert_in = nn.Linear(inputs, experts * self.width)
        self.expert_out = ParallelLinear(experts, self.width, self.width)
        self.tower_in = ParallelLinear(tasks, self.width, config.tower)
        self.tower_out = ParallelLinear(tasks, config.tower, 1)

    def forward(self, ids_NC: Tensor) -> Tensor:
        """Logits of shape (N, T)."""
        x_NI = self.embedding(ids_NC)
        hidden_ENH = self.expert_in(x_NI).relu().unflatten(1, (-1, self.width)).transpose(0, 1)
        experts_ENH = self.expert_out(hidden_ENH).relu()
        gates_NTB = self.gates(x_NI).unflatten(1, (self.tasks, -1)).softmax(2)
        shared_TNH = torch.einsum("ntb,bnh->tnh", gates_NTB[:, :, :-1], experts_ENH[: self.shared])
        own_TNH = gates_NTB[:, :, -1].T.unsqueeze(2) * experts_ENH[self.shared :]
        towers_TNW = self.tower_in(shared_TNH + own_TNH).relu()
        logits_NT: Tensor = self.tower_out(towers_TNW).squeeze(2).T
        return logits_NT
