"""How tasks share experts: one expert for all, or progressive layered extraction.

N requests, I inputs, E experts, H expert width, T tasks, B = shared + 1 experts that a gate mixes.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class SharedBottom(nn.Module):
    """One expert for all tasks (Caruana 1997).

    Args:
        tasks: T.
        make_experts: Makes the given number of parallel experts.
    """

    def __init__(self, tasks: int, make_experts: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.tasks = tasks
        self.experts = make_experts(1)

    def forward(self, x_NI: Tensor) -> Tensor:
        """The input of each task's tower, (T, N, H)."""
        experts_1NH: Tensor = self.experts(x_NI)
        return experts_1NH.expand(self.tasks, -1, -1)


class Ple(nn.Module):
    """Progressive layered extraction (Tang et al., RecSys 2020).

    Shared experts receive the gradients of all tasks, each task has its own expert, and a gate per
    task mixes the shared experts with its own: h_t = f_t(h_t, g_shared) (DAUM, eq. 28).

    Args:
        inputs: I.
        tasks: T.
        shared: Number of shared experts.
        make_experts: Makes the given number of parallel experts.
    """

    def __init__(
        self, inputs: int, tasks: int, shared: int, make_experts: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.tasks = tasks
        self.shared = shared
        self.gates = nn.Linear(inputs, tasks * (shared + 1))
        self.experts = make_experts(shared + tasks)

    def forward(self, x_NI: Tensor) -> Tensor:
        """The input of each task's tower, (T, N, H)."""
        experts_ENH = self.experts(x_NI)
        gates_NTB = self.gates(x_NI).unflatten(1, (self.tasks, -1)).softmax(2)
        shared_TNH = torch.einsum("ntb,bnh->tnh", gates_NTB[:, :, :-1], experts_ENH[: self.shared])
        own_TNH = gates_NTB[:, :, -1].T.unsqueeze(2) * experts_ENH[self.shared :]
        read_TNH: Tensor = shared_TNH + own_TNH
        return read_TNH
