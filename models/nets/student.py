"""The student: one pass, a probability and an uncertainty per task (DAUM, section III-E).

A small MLP over its own embedding. The uncertainty head learns the teacher's standard deviation
times a factor per task that brings its mean to that of the labels; the export divides by it again.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.embedding import FeatureEmbedding, FeatureLayout


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """Sizes of the student.

    Attributes:
        embedding: Width of a feature's vector.
        hidden: Widths of the hidden layers.
    """

    embedding: int = 6
    hidden: tuple[int, ...] = (96, 48)


class Student(nn.Module):
    """Multi-task net: feature ids in, one logit and one uncertainty per task out.

    Args:
        layout: Where the features lie.
        tasks: T.
        config: Sizes.
    """

    def __init__(self, layout: FeatureLayout, tasks: int, config: StudentConfig) -> None:
        super().__init__()
        self.embedding = FeatureEmbedding(layout, config.embedding)
        widths = [self.embedding.out_width, *config.hidden]
        self.hidden = nn.ModuleList(
            nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths)
        )
        self.score = nn.Linear(widths[-1], tasks)
        self.uncertainty = nn.Linear(widths[-1], tasks)

    def forward(self, ids_NC: Tensor) -> tuple[Tensor, Tensor]:
        """``logits_NT`` and ``uncertainties_NT`` >= 0, the latter in the rescaled unit."""
        x_NH = self.embedding(ids_NC)
        for layer in self.hidden:
            x_NH = layer(x_NH).relu()
        return self.score(x_NH), functional.softplus(self.uncertainty(x_NH))


def mean_matching(uncertainties_NT: Tensor, labels_T: Tensor) -> Tensor:
    """Factor per task that brings the mean uncertainty to the mean label; 1 where it cannot."""
    means_T = uncertainties_NT.double().mean(0)
    usable_T = (means_T > 0) & (labels_T > 0)
    ratio_T = labels_T.double() / means_T.clamp(min=torch.finfo(torch.float64).tiny)
    return torch.where(usable_T, ratio_T, torch.ones_like(ratio_T)).float()
