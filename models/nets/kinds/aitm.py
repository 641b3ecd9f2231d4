"""Adaptive information transfer multi-task learning (Xi et al., KDD 2021).

N requests, T tasks, H expert width.
"""

import math

import torch
from torch import Tensor, nn

from models.nets.backbone import Backbone, Shape
from models.nets.config import TeacherConfig


class Aitm(Backbone):
    """A net per task; what a task learned is transferred to the next step of the funnel.

    z_1 = q_1, p_t = g_t(z_(t-1)), z_t = AIT(p_t, q_t): attention over what was transferred and the
    task's own values, with h_1, h_2, h_3 linear (their eq. 3-5). Their behavioural expectation
    calibrator is a loss, `calibrator`.
    """

    def __init__(self, shape: Shape, config: TeacherConfig) -> None:
        super().__init__(shape, config)
        width, steps = config.expert, shape.tasks - 1
        self.experts = self.make_experts(shape.tasks)
        self.transfers = nn.ModuleList(nn.Linear(width, width) for _ in range(steps))
        self.attentions = nn.ModuleList(
            nn.Linear(width, 3 * width, bias=False) for _ in range(steps)
        )

    def forward(self, x_NI: Tensor, scenarios_NL: Tensor) -> Tensor:
        """The input of each task's tower, (T, N, H)."""
        del scenarios_NL
        own_TNH = self.experts(x_NI)
        transferred = [own_TNH[0]]
        for transfer, attention, own_NH in zip(
            self.transfers, self.attentions, own_TNH[1:], strict=True
        ):
            both_N2H = torch.stack([transfer(transferred[-1]).relu(), own_NH], dim=1)
            keys_N2H, queries_N2H, values_N2H = attention(both_N2H).chunk(3, dim=2)
            fits_N2 = (keys_N2H * queries_N2H).sum(2) / math.sqrt(own_NH.shape[1])
            transferred.append((fits_N2.softmax(1).unsqueeze(2) * values_N2H).sum(1))
        return torch.stack(transferred)
