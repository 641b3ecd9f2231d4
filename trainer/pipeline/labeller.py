"""The labeller of the student's rows: the teacher's scores, with the uncertainty of one method.

The score is the SWAG teacher's mean, or its blend with the stacked models
(:mod:`trainer.stacking`). The uncertainty is that of SWAG, of another method
(:data:`trainer.uncertainty.METHODS`), or, under ``auto``, of the most valuable method.

K rows, C columns of ids, T tasks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.artifact.manifest import AutoEvidence
from models.nets.embedding import FeatureLayout
from models.tasks import TaskSet
from trainer.evaluation.direct_passes import evaluate_direct_passes
from trainer.training.config import AUTO, SWAG, TrainConfig
from trainer.training.context import FitContext
from trainer.training.row_range import RowRange
from trainer.training.soft_labels import CHUNK, Labeller
from trainer.training.teacher import Teacher
from trainer.uncertainty import METHODS
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Estimator, Rows
from trainer.uncertainty.shared_score import SharedScoreEstimator

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MethodLabeller:
    """The teacher's scores with another method's uncertainty."""

    teacher: Labeller
    method: Estimator

    def predict(self, ids_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and their epistemic standard deviations, each (N, T)."""
        mean_NT, _ = self.teacher.predict(ids_NC)
        if isinstance(self.method, SharedScoreEstimator):
            # The scores are known already: the method need not compute them again.
            return mean_NT, torch.from_numpy(self.method.spread(ids_NC.numpy(), mean_NT.numpy()))
        return mean_NT, torch.from_numpy(self.method.predict(ids_NC.numpy()).epistemic_NT)

    def redrawn(self, number: int) -> "MethodLabeller":
        """Scores by other weight sets; the fitted method stays the same."""
        return MethodLabeller(self.teacher.redrawn(number), self.method)


def choose_labeller(
    teacher: Teacher,
    scorer: Labeller,
    layout: FeatureLayout,
    labelled: RowRange,
    held_out: RowRange,
    *,
    tasks: TaskSet,
    config: TrainConfig,
    context: FitContext,
) -> tuple[Labeller, AutoEvidence | None]:
    """The labeller that the configuration names.

    Args:
        teacher: The fitted teacher.
        scorer: Labels with the score, and the spread that the teacher has there.
        layout: Rows of the embedding table by column.
        labelled: Rows that other methods are fitted on.
        held_out: Rows that ``auto`` compares the methods on; no method was fitted on them.
        tasks: The tasks.
        config: ``uncertainty``, the nets of other methods, and the task weights of ``auto``.
        context: Seed of other methods, and progress bars.

    Returns:
        The labeller, and under ``auto`` the comparison of all methods.
    """
    if config.uncertainty == SWAG:
        return scorer, None
    rows = Rows(labelled.ids_KC.numpy(), labelled.targets_KT.numpy())
    lab = Lab(
        layout,
        rows,
        teacher=config.net,
        training=config.teacher,
        context=context,
        fitted=teacher.on_cpu(),
    )
    if config.uncertainty != AUTO:
        return MethodLabeller(scorer, METHODS[config.uncertainty](lab)), None
    others = {name: METHODS[name](lab) for name in METHODS if name != SWAG}
    labellers = {name: MethodLabeller(scorer, method) for name, method in others.items()}
    evidence = compare({SWAG: scorer, **labellers}, held_out, tasks, config)
    picked = SWAG if evidence is None else evidence.method
    return labellers.get(picked, scorer), evidence


def compare(
    labellers: Mapping[str, Labeller], held_out: RowRange, tasks: TaskSet, config: TrainConfig
) -> AutoEvidence | None:
    """Evaluate direct passes by each labeller's uncertainty, with the first one's scores."""
    predictions = {
        name: _predict(labeller, held_out.ids_KC) for name, labeller in labellers.items()
    }
    scores_KT, _ = next(iter(predictions.values()))
    return evaluate_direct_passes(
        scores_KT,
        {name: u_KT for name, (_, u_KT) in predictions.items()},
        held_out.labels_KT.numpy(),
        tasks,
        rate=config.auto_rate,
        weights=config.auto_weights,
    )


def _predict(labeller: Labeller, ids_KC: Tensor) -> tuple[Scores, Scores]:
    chunks = [labeller.predict(ids_BC) for ids_BC in torch.split(ids_KC, CHUNK)]
    mean_KT, u_KT = (torch.cat(parts).numpy() for parts in zip(*chunks, strict=True))
    return mean_KT, u_KT
