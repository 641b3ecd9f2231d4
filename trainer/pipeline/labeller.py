"""Who labels the student: the teacher's scores, with the uncertainty of a chosen method.

The score is always the SWAG teacher's mean. Its uncertainty is that of SWAG, of another method
(:data:`trainer.uncertainty.METHODS`), or of the one that pays best: ``auto``.

K rows, C columns of ids, T tasks.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import Progress
from torch import Tensor

from models.artifact.manifest import AutoEvidence
from models.nets.embedding import FeatureLayout
from models.tasks import TaskSet
from trainer.evaluation.direct_passes import judge_direct_passes
from trainer.training.config import AUTO, SWAG, TrainConfig
from trainer.training.rows import Part
from trainer.training.soft_labels import PIECE, Labeller
from trainer.training.teacher import Teacher
from trainer.uncertainty import METHODS
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Estimator, Rows
from trainer.uncertainty.shared_score import SharedScoreEstimator

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class MethodLabeller:
    """The teacher's scores beside another method's uncertainty."""

    teacher: Labeller
    method: Estimator

    def predict(self, ids_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities and their epistemic standard deviations, each (N, T)."""
        mean_NT, _ = self.teacher.predict(ids_NC)
        if isinstance(self.method, SharedScoreEstimator):
            # The teacher's score is at hand: no need to find it again.
            return mean_NT, torch.from_numpy(self.method.spread(ids_NC.numpy(), mean_NT.numpy()))
        return mean_NT, torch.from_numpy(self.method.predict(ids_NC.numpy()).epistemic_NT)

    def redrawn(self, number: int) -> "MethodLabeller":
        """Scores by other weight sets; the method stays as it was fitted."""
        return MethodLabeller(self.teacher.redrawn(number), self.method)


def choose_labeller(
    teacher: Teacher,
    layout: FeatureLayout,
    teaching: Part,
    newest: Part,
    *,
    tasks: TaskSet,
    config: TrainConfig,
    seed: int,
    progress: Progress,
) -> tuple[Labeller, AutoEvidence | None]:
    """The labeller that the configuration names.

    Args:
        teacher: The fitted teacher.
        layout: Where the features lie.
        teaching: Rows that other methods learn from.
        newest: Held-out rows that ``auto`` judges on; no method saw them.
        tasks: The tasks.
        config: ``uncertainty``, the nets of other methods, and what ``auto`` weighs.
        seed: Seed of other methods.
        progress: Where bars are shown.

    Returns:
        The labeller, and under ``auto`` how all methods compared.
    """
    if config.uncertainty == SWAG:
        return teacher, None
    rows = Rows(teaching.ids_KC.numpy(), teaching.targets_KT.numpy())
    lab = Lab(
        layout,
        rows,
        teacher=config.net,
        training=config.teacher,
        seed=seed,
        progress=progress,
        fitted=teacher.on_cpu(),
    )
    if config.uncertainty != AUTO:
        return MethodLabeller(teacher, METHODS[config.uncertainty](lab)), None
    others = {name: METHODS[name](lab) for name in METHODS if name != SWAG}
    labellers = {name: MethodLabeller(teacher, method) for name, method in others.items()}
    evidence = compare({SWAG: teacher, **labellers}, newest, tasks, config)
    picked = SWAG if evidence is None else evidence.method
    return labellers.get(picked, teacher), evidence


def compare(
    labellers: Mapping[str, Labeller], newest: Part, tasks: TaskSet, config: TrainConfig
) -> AutoEvidence | None:
    """Judge the labellers' uncertainties beside the first one's scores."""
    said = {name: _predict(labeller, newest.ids_KC) for name, labeller in labellers.items()}
    scores_KT, _ = next(iter(said.values()))
    return judge_direct_passes(
        scores_KT,
        {name: u_KT for name, (_, u_KT) in said.items()},
        newest.labels_KT.numpy(),
        tasks,
        rate=config.auto_rate,
        weights=config.auto_weights,
    )


def _predict(labeller: Labeller, ids_KC: Tensor) -> tuple[Scores, Scores]:
    pieces = [labeller.predict(ids_BC) for ids_BC in torch.split(ids_KC, PIECE)]
    mean_KT, u_KT = (torch.cat(parts).numpy() for parts in zip(*pieces, strict=True))
    return mean_KT, u_KT
