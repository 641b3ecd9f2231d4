"""The teacher: embedded features, experts, a tower per task, a head; chosen by its config.

N requests, C columns of ids, T tasks, H expert width, W tower width, O outputs per task.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from models.choices import load_choice
from models.nets.config import TEACHERS, TeacherConfig
from models.nets.embedding import FeatureEmbedding, FeatureLayout
from models.nets.parallel import ParallelLinear, UnitDropout

MakeBackbone = Callable[[FeatureLayout, int, TeacherConfig], nn.Module]
"""Makes what reads embedded requests (N, I) and gives (T, N, H)."""


class OutputNet(nn.Module):
    """A net that can be trained on labels: feature ids in, O outputs per task out."""

    def outputs(self, ids_NC: Tensor) -> Tensor:
        """All outputs, (N, T, O)."""
        raise NotImplementedError

    def start_at(self, outputs_TO: Tensor) -> None:
        """Initialise the outputs near these values, so that rare tasks start at their base rate."""
        raise NotImplementedError

    def forward(self, ids_NC: Tensor) -> Tensor:
        """Logits of shape (N, T): the first output of every task."""
        return self.outputs(ids_NC)[:, :, 0]


class TeacherNet(OutputNet):
    """Multi-task net of experts and towers.

    Args:
        embedding: Embeds the ids.
        backbone: Net that maps embedded requests to (T, N, H).
        tasks: T.
        config: Sizes.
        outputs: O, more than one for the heads of :mod:`models.nets.heads`.
    """

    def __init__(
        self,
        embedding: FeatureEmbedding,
        backbone: nn.Module,
        tasks: int,
        config: TeacherConfig,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.backbone = backbone
        self.tower_in = ParallelLinear(tasks, config.expert, config.tower)
        self.tower_out = ParallelLinear(tasks, config.tower, outputs)
        drop: Callable[[int], nn.Module] = (
            partial(UnitDropout, config.dropout, tasks) if config.dropout else _keep_all
        )
        self.drop_experts = drop(config.expert)
        self.drop_tower = drop(config.tower)

    def hidden(self, ids_NC: Tensor) -> Tensor:
        """The input of the last layer, (T, N, W)."""
        experts_TNH = self.drop_experts(self.backbone(self.embedding(ids_NC)))
        hidden_TNW: Tensor = self.drop_tower(self.tower_in(experts_TNH).relu())
        return hidden_TNW

    def outputs(self, ids_NC: Tensor) -> Tensor:
        """All outputs, (N, T, O)."""
        outputs_TNO: Tensor = self.tower_out(self.hidden(ids_NC))
        return outputs_TNO.transpose(0, 1)

    @torch.no_grad()
    def start_at(self, outputs_TO: Tensor) -> None:
        """Set the last layer's bias."""
        self.tower_out.bias_E1O.copy_(outputs_TO.unsqueeze(1))


def build_teacher(
    layout: FeatureLayout, tasks: int, config: TeacherConfig, outputs: int = 1
) -> TeacherNet:
    """A new net; its initial weights come from torch's generator.

    Args:
        layout: Rows of the embedding table by column.
        tasks: T.
        config: Kind and sizes.
        outputs: O.

    Raises:
        ValueError: If the kind is unknown, or the embedding no multiple of the attention heads.
    """
    embedding = FeatureEmbedding(layout, config.embedding)
    make_backbone: MakeBackbone = load_choice(TEACHERS, config.kind)
    backbone = make_backbone(layout, tasks, config)
    return TeacherNet(embedding, backbone, tasks, config, outputs)


def _keep_all(_units: int) -> nn.Module:
    return nn.Identity()
