"""Randomised prior functions (Osband, Aslanides, Cassirer 2018): f = net + scale * prior.

The prior is a random net of the same kind, which is never trained.
"""

from typing import Final

import torch
from torch import Tensor

from models.nets.config import TeacherConfig
from models.nets.embedding import INITIAL_STD, FeatureLayout
from models.nets.teacher import OutputNet, build_teacher

PRIOR_STD: Final = 0.5
"""Standard deviation of the prior's logits over requests."""


class PriorNet(OutputNet):
    """The sum of a trained net and a random one; logits only.

    Args:
        layout: Columns of the features.
        tasks: T.
        config: Kind and sizes of both.
        ids_NC: Requests over which the prior is scaled to mean 0 and :data:`PRIOR_STD`.
    """

    def __init__(
        self, layout: FeatureLayout, tasks: int, config: TeacherConfig, ids_NC: Tensor
    ) -> None:
        super().__init__()
        self.kind = config.kind
        self.net = build_teacher(layout, tasks, config)
        self.prior = build_teacher(layout, tasks, config).requires_grad_(requires_grad=False)
        with torch.no_grad():
            self.prior.embedding.table_RD.div_(INITIAL_STD)
            logits_NT = self.prior(ids_NC)
            std_T11 = logits_NT.std(0).clamp(min=1e-6).view(-1, 1, 1)
            self.prior.tower_out.weight_EIO.mul_(PRIOR_STD / std_T11)
            self.prior.tower_out.bias_E1O.copy_(
                -logits_NT.mean(0).view(-1, 1, 1) * PRIOR_STD / std_T11
            )

    @property
    def layout(self) -> FeatureLayout:
        """Columns of the features."""
        return self.net.layout

    @property
    def penalty(self) -> Tensor | float:
        """Auxiliary loss of the trained net's last batch."""
        return self.net.penalty

    def start_at(self, outputs_TO: Tensor) -> None:
        """As :meth:`models.nets.teacher.TeacherNet.start_at`."""
        self.net.start_at(outputs_TO)

    def outputs(self, ids_NC: Tensor) -> Tensor:
        """The summed outputs, (N, T, 1)."""
        return self.net.outputs(ids_NC) + self.prior.outputs(ids_NC)
