"""Distillation: the student is fitted on the teacher's probabilities and uncertainties.

The student sees the labelled rows and all unlabelled requests. Hard labels, on the rows that the
teacher was trained on, cost accuracy; soft labels on fresh requests cost almost none.

N rows, B rows of a batch, K rows that the scale is estimated from, C columns of ids, T tasks.
"""

from typing import Final

import torch
from torch import Tensor

from models.nets.config import StudentConfig
from models.nets.embedding import FeatureLayout
from models.nets.losses import masked_bce
from models.nets.scale import build_scale
from models.nets.student import Student
from trainer.training.config import StudentTraining
from trainer.training.context import FitContext
from trainer.training.loop import cosine, run_steps, steps_per_epoch
from trainer.training.soft_labels import INTERLEAVED

SCALE_ROWS: Final = 65_536
"""Most rows that the scale of the uncertainties is estimated from, evenly spaced."""


def fit_student(
    layout: FeatureLayout,
    ids_NC: Tensor,
    mean_NT: Tensor,
    std_NT: Tensor,
    *,
    sizes: StudentConfig,
    training: StudentTraining,
    context: FitContext,
    hard_NT: Tensor | None = None,
    weights_N: Tensor | None = None,
) -> Student:
    """Distil the teacher.

    Args:
        layout: Rows of the embedding table by column.
        ids_NC: Feature ids of all rows.
        mean_NT: The teacher's probabilities for them.
        std_NT: The teacher's uncertainties.
        sizes: Sizes of the student.
        training: Schedule, what the uncertainty head learns, and the weight of hard labels.
        context: Devices, progress bars and checkpoint.
        hard_NT: Labels in {0, 1}, NaN where unknown; unused when their weight is 0.
        weights_N: Weight of each row in the loss; None if all are equal.

    Returns:
        The student, on the CPU; its uncertainties are in the teacher's unit.
    """
    every = slice(None, None, -(-len(ids_NC) // SCALE_ROWS))
    scale = build_scale(training.target, mean_NT[every], std_NT[every])
    student = Student(layout, mean_NT.shape[1], sizes, scale)
    _start_at_means(student, mean_NT[every], std_NT[every])
    student.to(context.devices.device)
    put = context.devices.put
    steps = max(_steps_of_epochs(len(ids_NC), training), training.min_steps)

    def loss(rows_B: Tensor, _step: int) -> Tensor:
        logits_BT, raw_BT = student(put(ids_NC[rows_B]))
        soft_BT = mean_NT[rows_B]
        if hard_NT is not None and training.hard_weight > 0:
            soft_BT = mixed(soft_BT, hard_NT[rows_B], training.hard_weight)
        weights_B = None if weights_N is None else put(weights_N[rows_B])
        scores = masked_bce(logits_BT, put(soft_BT), weights_B)
        uncertainties = student.scale.loss(raw_BT, put(std_NT[rows_B]), weights_B)
        return scores + training.uncertainty_weight * uncertainties

    run_steps(
        student,
        rows=len(ids_NC),
        batch=training.batch,
        steps=steps,
        learning_rate=lambda step: cosine(step, steps, training.learning_rate, 0.0),
        loss=loss,
        after_step=lambda _: None,
        name="student",
        context=context,
    )
    student.cpu()
    student.scale = scale.matched(_raw(student, ids_NC[every]), std_NT[every])
    return student


def sets_per_row(rows: int, training: StudentTraining) -> int:
    """Number of weight sets that label each row: more for few rows, which are seen more often."""
    return min(max(training.min_steps // _steps_of_epochs(rows, training), 1), INTERLEAVED)


def mixed(soft_NT: Tensor, hard_NT: Tensor, weight: float) -> Tensor:
    """Soft labels interpolated towards the hard ones by ``weight`` where these are known."""
    return torch.where(hard_NT.isnan(), soft_NT, torch.lerp(soft_NT, hard_NT, weight))


def _steps_of_epochs(rows: int, training: StudentTraining) -> int:
    return training.epochs * steps_per_epoch(rows, training.batch)


@torch.no_grad()
def _raw(student: Student, ids_KC: Tensor) -> Tensor:
    return torch.cat([student(ids_BC)[1] for ids_BC in torch.split(ids_KC, 8192)])


@torch.no_grad()
def _start_at_means(student: Student, mean_KT: Tensor, std_KT: Tensor) -> None:
    student.score.bias.copy_(mean_KT.mean(0).clamp(1e-4, 1 - 1e-4).logit())
    student.uncertainty.bias.copy_(student.scale.start(std_KT))
