"""The kinds of teacher: what lies between the embedded request and the towers of the tasks.

Each function makes the backbone of one kind: a module that reads embedded requests (N, I) and gives
every task H values of each, (T, N, H). ``TEACHERS`` in :mod:`models.nets.config` names them.

N requests, F features, D embedding width, I = F * D, T tasks, H expert width.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from models.nets.config import TeacherConfig
from models.nets.embedding import FeatureLayout
from models.nets.experts import MlpExperts, TransformerExperts
from models.nets.ple import Ple, SharedBottom

MakeExperts = Callable[[int], nn.Module]


def mlp(layout: FeatureLayout, tasks: int, config: TeacherConfig) -> nn.Module:
    """One MLP that all tasks read."""
    return SharedBottom(tasks, _mlps(layout, config))


def transformer(layout: FeatureLayout, tasks: int, config: TeacherConfig) -> nn.Module:
    """One Transformer over the features that all tasks read."""
    return SharedBottom(tasks, _transformers(layout, config))


def ple_mlp(layout: FeatureLayout, tasks: int, config: TeacherConfig) -> nn.Module:
    """Progressive layered extraction with MLPs as experts."""
    inputs = layout.features * config.embedding
    return Ple(inputs, tasks, config.shared_experts, _mlps(layout, config))


def ple_transformer(layout: FeatureLayout, tasks: int, config: TeacherConfig) -> nn.Module:
    """Progressive layered extraction with Transformers as experts."""
    inputs = layout.features * config.embedding
    return Ple(inputs, tasks, config.shared_experts, _transformers(layout, config))


def _mlps(layout: FeatureLayout, config: TeacherConfig) -> MakeExperts:
    return partial(MlpExperts, inputs=layout.features * config.embedding, width=config.expert)


def _transformers(layout: FeatureLayout, config: TeacherConfig) -> MakeExperts:
    return partial(
        TransformerExperts,
        features=layout.features,
        embedding=config.embedding,
        width=config.expert,
        heads=config.heads,
        blocks=config.blocks,
    )
