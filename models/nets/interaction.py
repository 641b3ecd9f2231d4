"""Feature interactions: what combines the features' vectors before the backbone reads them.

Each maps an embedded request of F vectors to one of ``out_features`` vectors of the same width.

N requests, F features, D embedding width, I = F * D.
"""

from typing import Final

import torch
from torch import Tensor, nn

from models.nets.config import TeacherConfig
from models.nets.experts import TransformerBlock

LAYERS: Final = 2
RANK: Final = 32
"""Rank of a cross layer's matrix; DCN V2 finds a quarter of the width sufficient."""


class NoInteraction(nn.Module):
    """The features' vectors as they are."""

    def __init__(self, features: int, config: TeacherConfig) -> None:
        super().__init__()
        del config
        self.out_features = features

    def forward(self, x_NI: Tensor) -> Tensor:
        """The input."""
        return x_NI


class FactorizationMachine(nn.Module):
    """Bi-interaction pooling (He & Chua, SIGIR 2017): the sum of products of all pairs.

    It is one more vector: ((sum v)^2 - sum v^2) / 2, element by element.
    """

    def __init__(self, features: int, config: TeacherConfig) -> None:
        super().__init__()
        self.width = config.embedding
        self.out_features = features + 1

    def forward(self, x_NI: Tensor) -> Tensor:
        """The vectors and their pooled pairs, (N, (F + 1) * D)."""
        x_NFD = x_NI.reshape(*x_NI.shape[:-1], -1, self.width)
        pairs_ND = (x_NFD.sum(-2).square() - x_NFD.square().sum(-2)) / 2
        return torch.cat([x_NI, pairs_ND], dim=-1)


class CrossNetwork(nn.Module):
    """Cross network of DCN V2 (Wang et al., WWW 2021) of low rank.

    x_(l+1) = x_0 * (U V' x_l + b) + x_l (their eq. 1 and section 4.2).
    """

    def __init__(self, features: int, config: TeacherConfig) -> None:
        super().__init__()
        self.out_features = features
        inputs = features * config.embedding
        self.down = nn.ModuleList(nn.Linear(inputs, RANK, bias=False) for _ in range(LAYERS))
        self.up = nn.ModuleList(nn.Linear(RANK, inputs) for _ in range(LAYERS))

    def forward(self, x_NI: Tensor) -> Tensor:
        """The crossed vectors, (N, I)."""
        crossed_NI = x_NI
        for down, up in zip(self.down, self.up, strict=True):
            crossed_NI = x_NI * up(down(crossed_NI)) + crossed_NI
        return crossed_NI


class SelfAttention(nn.Module):
    """A Transformer block over the features' vectors (AutoInt, Song et al., CIKM 2019)."""

    def __init__(self, features: int, config: TeacherConfig) -> None:
        super().__init__()
        self.out_features = features
        self.width = config.embedding
        self.block = TransformerBlock(1, config.embedding, config.heads)

    def forward(self, x_NI: Tensor) -> Tensor:
        """The vectors, each mixed with the others, (N, I)."""
        x_KFD = x_NI.reshape(-1, x_NI.shape[-1] // self.width, self.width)
        mixed_1KFD: Tensor = self.block(x_KFD.unsqueeze(0))
        return mixed_1KFD.view_as(x_NI)
