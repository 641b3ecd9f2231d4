"""Progressive layered extraction with two levels and more (Tang et al., RecSys 2020).

N requests, I inputs, E = shared + T experts of a level, T tasks, H expert width, B = shared + 1.
"""

import torch
from torch import Tensor, nn

from models.nets.backbone import Backbone, Shape
from models.nets.config import TeacherConfig
from models.nets.experts import MlpExperts
from models.nets.kinds.cgc import Cgc, mixed


class Ple(Backbone):
    """A level of CGC, and further levels that read what the gates of the level before mixed.

    A level below the last also has a shared gate, which mixes all experts: the shared experts of
    the next level read that, the experts of a task what the task's gate mixed (their eq. 5-7).
    """

    def __init__(self, shape: Shape, config: TeacherConfig) -> None:
        super().__init__(shape, config)
        count = config.shared_experts + shape.tasks
        self.first = Cgc(shape, config)
        self.first_shared_gate = nn.Linear(self.inputs, count)
        self.levels = nn.ModuleList(
            _Level(shape.tasks, config.shared_experts, config.expert, last=number == config.levels)
            for number in range(2, config.levels + 1)
        )

    def forward(self, x_NI: Tensor, scenarios_NL: Tensor) -> Tensor:
        """The input of each task's tower, (T, N, H)."""
        del scenarios_NL
        experts_ENH = self.first.experts(x_NI)
        gates_NTB = self.first.gates(x_NI).unflatten(1, (self.shape.tasks, -1)).softmax(2)
        tasks_TNH = mixed(gates_NTB, experts_ENH)
        shared_NE = self.first_shared_gate(x_NI).softmax(1)
        shared_NH = torch.einsum("ne,enh->nh", shared_NE, experts_ENH)
        for level in self.levels:
            tasks_TNH, shared_NH = level(tasks_TNH, shared_NH)
        return tasks_TNH


class _Level(nn.Module):
    """A level whose experts read what the level before mixed."""

    def __init__(self, tasks: int, shared: int, width: int, *, last: bool) -> None:
        super().__init__()
        self.tasks, self.shared = tasks, shared
        self.experts = MlpExperts(shared + tasks, width, width, keep_scale=True)
        self.gates = nn.ModuleList(nn.Linear(width, shared + 1) for _ in range(tasks))
        self.shared_gate = None if last else nn.Linear(width, shared + tasks)

    def forward(self, tasks_TNH: Tensor, shared_NH: Tensor) -> tuple[Tensor, Tensor]:
        inputs_ENH = torch.cat([shared_NH.expand(self.shared, -1, -1), tasks_TNH])
        experts_ENH = self.experts(inputs_ENH)
        gates_NTB = torch.stack(
            [gate(own_NH) for gate, own_NH in zip(self.gates, tasks_TNH, strict=True)], dim=1
        ).softmax(2)
        if self.shared_gate is not None:
            shared_NE = self.shared_gate(shared_NH).softmax(1)
            shared_NH = torch.einsum("ne,enh->nh", shared_NE, experts_ENH)
        return mixed(gates_NTB, experts_ENH), shared_NH
