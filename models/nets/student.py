"""The student: one pass, a probability and an uncertainty per task (DAUM, section III-E).

It is a small MLP with its own embedding. Its scale defines the target of the uncertainty head, and
converts the head's outputs to standard deviations (:mod:`models.nets.scale`).
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from models.nets.config import StudentConfig
from models.nets.embedding import FeatureEmbedding, FeatureLayout
from models.nets.scale import UncertaintyScale


class Student(nn.Module):
    """Multi-task net: feature ids in, one probability and one uncertainty per task out.

    Args:
        layout: Columns of the features.
        tasks: T.
        config: Sizes.
        scale: Conversion of the uncertainty head's outputs.
    """

    def __init__(
        self, layout: FeatureLayout, tasks: int, config: StudentConfig, scale: UncertaintyScale
    ) -> None:
        super().__init__()
        self.embedding = FeatureEmbedding(layout, config.embedding)
        widths = [self.embedding.out_width, *config.hidden]
        self.hidden = nn.ModuleList(
            nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths)
        )
        self.score = nn.Linear(widths[-1], tasks)
        self.uncertainty = nn.Linear(widths[-1], tasks)
        self.scale = scale

    def forward(self, ids_NC: Tensor) -> tuple[Tensor, Tensor]:
        """``logits_NT`` and the uncertainty head's raw outputs, ``raw_NT``."""
        x_NH = self.embedding(ids_NC)
        for layer in self.hidden:
            x_NH = layer(x_NH).relu()
        return self.score(x_NH), self.uncertainty(x_NH)

    @torch.no_grad()
    def predict(self, ids_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and their standard deviations, each (N, T)."""
        logits_NT, raw_NT = self(ids_NC)
        return logits_NT.sigmoid(), self.scale(raw_NT)
