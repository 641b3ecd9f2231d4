"""Fitting the student to the teacher: soft labels and uncertainties, no hard labels.

The student sees the labelled rows and every unlabelled request there is: hard labels on rows that
the teacher was trained on cost accuracy, soft labels on fresh requests cost almost none.
"""

import torch
from rich.progress import Progress
from torch import Tensor

from models.nets.embedding import FeatureLayout
from models.nets.losses import masked_bce, poisson_deviance
from models.nets.student import Student, StudentConfig, mean_matching
from trainer.checkpoint import StateFile
from trainer.config import StudentTraining
from trainer.devices import Devices
from trainer.fitting import ONE_CPU, cosine, run_steps, steps_per_epoch


def fit_student(
    layout: FeatureLayout,
    ids_NC: Tensor,
    mean_NT: Tensor,
    std_NT: Tensor,
    *,
    sizes: StudentConfig,
    training: StudentTraining,
    progress: Progress,
    devices: Devices = ONE_CPU,
    saved: StateFile | None = None,
) -> tuple[Student, Tensor]:
    """Distil the teacher.

    Args:
        layout: Where the features lie.
        ids_NC: Feature ids of all rows.
        mean_NT: The teacher's probabilities for them.
        std_NT: The teacher's uncertainties.
        sizes: Sizes of the student.
        training: Schedule.
        progress: Where the bar is shown.
        devices: Where it is trained.
        saved: Where training goes on if it was interrupted.

    Returns:
        The student, on the processor, and the factor per task that its uncertainties were
        multiplied with.
    """
    student = Student(layout, mean_NT.shape[1], sizes)
    rescaling_T = mean_matching(std_NT, mean_NT.mean(0))
    scaled_NT = std_NT * rescaling_T
    _start_at_means(student, mean_NT, scaled_NT)
    student.to(devices.device)
    epoch_steps = training.epochs * steps_per_epoch(len(ids_NC), training.batch)
    steps = max(epoch_steps, training.min_steps)
    bar = progress.add_task("student", total=steps)

    def loss(rows_B: Tensor) -> Tensor:
        logits_BT, uncertainties_BT = student(devices.put(ids_NC[rows_B]))
        scores = masked_bce(logits_BT, devices.put(mean_NT[rows_B]))
        uncertainties = poisson_deviance(uncertainties_BT, devices.put(scaled_NT[rows_B]))
        return scores + training.uncertainty_weight * uncertainties

    run_steps(
        student,
        rows=len(ids_NC),
        batch=training.batch,
        steps=steps,
        learning_rate=lambda step: cosine(step, steps, training.learning_rate, 0.0),
        loss=loss,
        after_step=lambda taken: progress.update(bar, completed=taken),
        devices=devices,
        saved=saved,
    )
    return student.cpu(), rescaling_T


@torch.no_grad()
def _start_at_means(student: Student, mean_NT: Tensor, scaled_NT: Tensor) -> None:
    student.score.bias.copy_(mean_NT.mean(0).clamp(1e-4, 1 - 1e-4).logit())
    student.uncertainty.bias.copy_(scaled_NT.mean(0).clamp(min=1e-4).expm1().log())
