"""Experts: E nets of one shape that read embedded requests, computed together.

There are MLPs, and Transformers whose tokens are the features of the request.

N requests, F features, D embedding width, I = F * D, E experts, H expert width, A attention heads.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.config import TeacherConfig
from models.nets.parallel import ParallelLinear


def mlp_experts(count: int, features: int, config: TeacherConfig) -> nn.Module:
    """MLPs of the configured sizes."""
    return MlpExperts(count, inputs=features * config.embedding, width=config.expert)


def transformer_experts(count: int, features: int, config: TeacherConfig) -> nn.Module:
    """Transformers of the configured sizes."""
    return TransformerExperts(
        count,
        features=features,
        embedding=config.embedding,
        width=config.expert,
        heads=config.heads,
        blocks=config.blocks,
    )


class MlpExperts(nn.Module):
    """E MLPs with two layers.

    Args:
        count: E.
        inputs: I.
        width: H.
        keep_scale: See `ParallelLinear`.
    """

    def __init__(self, count: int, inputs: int, width: int, *, keep_scale: bool = False) -> None:
        super().__init__()
        self.width = width
        self.expert_in = nn.Linear(inputs, count * width)
        if keep_scale:
            nn.init.kaiming_uniform_(self.expert_in.weight, nonlinearity="relu")
        self.expert_out = ParallelLinear(count, width, width, keep_scale=keep_scale)

    def forward(self, x_NI: Tensor) -> Tensor:
        """Outputs of shape (E, N, H); ``x_NI`` may be (E, N, I), an input for each expert."""
        if x_NI.dim() == 3:
            weight_EHI = self.expert_in.weight.view(-1, self.width, x_NI.shape[2])
            bias_E1H = self.expert_in.bias.view(-1, 1, self.width)
            hidden_ENH = torch.baddbmm(bias_E1H, x_NI, weight_EHI.transpose(1, 2)).relu()
        else:
            hidden_NEH = self.expert_in(x_NI).relu().unflatten(1, (-1, self.width))
            hidden_ENH = hidden_NEH.transpose(0, 1)
        experts_ENH: Tensor = self.expert_out(hidden_ENH).relu()
        return experts_ENH


class TransformerExperts(nn.Module):
    """E Transformers with features as tokens; a linear layer reads out the concatenated tokens.

    The read-out of all tokens, instead of their mean, is AutoInt's (Song et al., CIKM 2019).

    Args:
        count: E.
        features: F.
        embedding: D, a multiple of the heads.
        width: H.
        heads: A.
        blocks: Number of Transformer blocks.
    """

    def __init__(
        self, count: int, features: int, embedding: int, width: int, heads: int, blocks: int
    ) -> None:
        super().__init__()
        self.count, self.embedding = count, embedding
        self.blocks = nn.ModuleList(
            TransformerBlock(count, embedding, heads) for _ in range(blocks)
        )
        self.readout = ParallelLinear(count, features * embedding, width)

    def forward(self, x_NI: Tensor) -> Tensor:
        """Outputs of shape (E, N, H); ``x_NI`` may be (E, N, I), an input for each expert."""
        x_ENFD = x_NI.reshape(*x_NI.shape[:-1], -1, self.embedding)
        if x_NI.dim() == 2:
            x_ENFD = x_ENFD.expand(self.count, -1, -1, -1)
        for block in self.blocks:
            x_ENFD = block(x_ENFD)
        experts_ENH: Tensor = self.readout(x_ENFD.flatten(2)).relu()
        return experts_ENH


class TransformerBlock(nn.Module):
    """E pre-norm Transformer blocks in parallel: attention, then a feed-forward net.

    Layer normalisation keeps no running statistics of the data, so averaged or sampled weights need
    no further pass over it.
    """

    def __init__(self, count: int, embedding: int, heads: int) -> None:
        super().__init__()
        if embedding % heads:
            raise ValueError(
                f"teacher: embedding {embedding} is not a multiple of {heads} attention heads"
            )
        self.heads, self.width = heads, embedding // heads
        self.attention_norm = ParallelNorm(count, embedding)
        self.attention_in = ParallelLinear(count, embedding, 3 * embedding)
        self.attention_out = ParallelLinear(count, embedding, embedding)
        self.feed_norm = ParallelNorm(count, embedding)
        self.feed_in = ParallelLinear(count, embedding, 2 * embedding)
        self.feed_out = ParallelLinear(count, 2 * embedding, embedding)

    def forward(self, x_ENFD: Tensor) -> Tensor:
        """Outputs of the same shape."""
        features = x_ENFD.shape[2]
        x_EKD = x_ENFD.flatten(1, 2)
        qkv_EKD = self.attention_in(self.attention_norm(x_EKD))
        # Experts and requests share an axis: torch has no fused attention for more than four axes.
        q_BAFd, k_BAFd, v_BAFd = qkv_EKD.view(-1, features, 3, self.heads, self.width).permute(
            2, 0, 3, 1, 4
        )
        mixed_BAFd = functional.scaled_dot_product_attention(q_BAFd, k_BAFd, v_BAFd)
        mixed_EKD = mixed_BAFd.transpose(1, 2).reshape(x_EKD.shape)
        x_EKD = x_EKD + self.attention_out(mixed_EKD)
        x_EKD = x_EKD + self.feed_out(self.feed_in(self.feed_norm(x_EKD)).relu())
        out_ENFD: Tensor = x_EKD.view_as(x_ENFD)
        return out_ENFD


class ParallelNorm(nn.Module):
    """E layer normalisations over the last axis."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.gain_E1D = nn.Parameter(torch.ones(count, 1, width))
        self.shift_E1D = nn.Parameter(torch.zeros(count, 1, width))

    def forward(self, x_EKD: Tensor) -> Tensor:
        """Outputs of the same shape."""
        normal_EKD = functional.layer_norm(x_EKD, x_EKD.shape[-1:])
        return normal_EKD * self.gain_E1D + self.shift_E1D
