"""The teacher: embedded features, experts, a tower per task, a head; chosen by its config.

N requests, C columns of ids, F features, D embedding width, I = F * D, T tasks, H expert width, W
tower width, O outputs per task, L scenario features.
"""

from collections.abc import Callable
from functools import partial
from math import prod

import torch
from torch import Tensor, nn

from models.choices import load_choice
from models.nets.backbone import MAX_SCENARIOS, Backbone, Shape
from models.nets.config import INTERACTIONS, TEACHERS, TeacherConfig
from models.nets.embedding import FeatureEmbedding, FeatureLayout, Single
from models.nets.parallel import ParallelLinear, UnitDropout


class OutputNet(nn.Module):
    """A net that can be trained on labels: feature ids in, O outputs per task out.

    Attributes:
        kind: Name of its kind, which the objective ``auto`` follows; "" if it has none.
    """

    kind: str = ""

    @property
    def layout(self) -> FeatureLayout:
        """Columns of the features that it reads."""
        raise NotImplementedError

    @property
    def penalty(self) -> Tensor | float:
        """Auxiliary loss of the last batch in training, added to that of the labels."""
        return 0.0

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
    """Multi-task net: features' vectors, their interaction, a backbone, and a tower per task.

    Args:
        embedding: Embeds the ids.
        interaction: Combines the features' vectors.
        backbone: Maps embedded requests to (T, N, H).
        scenarios: The features that say the scenario.
        outputs: O, more than one for the heads of :mod:`models.nets.heads`.
    """

    scenario_columns_L: Tensor
    scenario_offsets_L: Tensor

    def __init__(
        self,
        embedding: FeatureEmbedding,
        interaction: nn.Module,
        backbone: Backbone,
        scenarios: tuple[Single, ...] = (),
        outputs: int = 1,
    ) -> None:
        super().__init__()
        tasks, config = backbone.shape.tasks, backbone.config
        self.kind = config.kind
        self.embedding = embedding
        self.interaction = interaction
        self.backbone = backbone
        self.tower_in = ParallelLinear(tasks, config.expert, config.tower)
        self.tower_out = ParallelLinear(tasks, config.tower, outputs)
        drop: Callable[[int], nn.Module] = (
            partial(UnitDropout, config.dropout, tasks) if config.dropout else _keep_all
        )
        self.drop_experts = drop(config.expert)
        self.drop_tower = drop(config.tower)
        columns, offsets = [s.column for s in scenarios], [s.offset for s in scenarios]
        self.register_buffer("scenario_columns_L", torch.tensor(columns, dtype=torch.int64))
        self.register_buffer("scenario_offsets_L", torch.tensor(offsets, dtype=torch.int64))

    @property
    def layout(self) -> FeatureLayout:
        """Columns of the features."""
        return self.embedding.layout

    @property
    def penalty(self) -> Tensor | float:
        """Auxiliary loss of the last batch in training."""
        return self.backbone.penalty

    def hidden(self, ids_NC: Tensor) -> Tensor:
        """The input of the last layer, (T, N, W)."""
        x_NI = self.embedding(ids_NC)
        if self.backbone.embeddings_per_task:
            tasks, width = self.backbone.shape.tasks, self.backbone.config.embedding
            x_NFTD = x_NI.unflatten(1, (-1, tasks, width))
            x_NI = x_NFTD.permute(2, 0, 1, 3).flatten(2)
        scenarios_NL = ids_NC[:, self.scenario_columns_L].long() - self.scenario_offsets_L
        read_TNH = self.backbone(self.interaction(x_NI), scenarios_NL)
        hidden_TNW: Tensor = self.drop_tower(self.tower_in(self.drop_experts(read_TNH)).relu())
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
        ValueError: If a name is unknown, the embedding no multiple of the attention heads, or there
            are too many scenarios.
    """
    scenarios = tuple(map(layout.single, config.scenario))
    count = prod(single.size for single in scenarios)
    if count > MAX_SCENARIOS:
        raise ValueError(
            f"teacher.scenario: {', '.join(config.scenario)} give {count} scenarios, more than "
            f"{MAX_SCENARIOS}; name fewer features, or give them smaller sizes in the spec"
        )
    make: type[Backbone] = load_choice(TEACHERS, config.kind)
    width = config.embedding * (tasks if make.embeddings_per_task else 1)
    embedding = FeatureEmbedding(layout, width, config.numeric)
    interaction = load_choice(INTERACTIONS, config.interaction)(layout.features, config)
    sizes = tuple(single.size for single in scenarios)
    backbone = make(Shape(interaction.out_features, tasks, sizes), config)
    return TeacherNet(embedding, interaction, backbone, scenarios, outputs)


def _keep_all(_units: int) -> nn.Module:
    return nn.Identity()
