"""Fitting the teacher: PLE on the labels, then SWAG over the end of its training.

The learning rate decays well before the first snapshot and stays constant while they are taken:
the average of the snapshots is better than any of them, their spread is the uncertainty.
"""

from dataclasses import dataclass

import torch
from rich.progress import Progress
from torch import Tensor

from models.nets.embedding import FeatureLayout
from models.nets.losses import masked_bce
from models.nets.ple import Ple, PleConfig
from models.nets.swag import SwagPosterior, Weights, predict_moments
from trainer.config import TeacherTraining
from trainer.fitting import cosine, run_steps, steps_per_epoch


@dataclass(frozen=True, slots=True)
class Teacher:
    """A fitted teacher: its net and the M weight sets that it predicts with."""

    net: Ple
    posterior: SwagPosterior
    samples: list[Weights]

    def predict(self, ids_NC: Tensor, progress: Progress, what: str) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the probabilities, each (N, T)."""
        bar = progress.add_task(f"teacher labels {what}", total=len(ids_NC))
        return predict_moments(
            self.net, self.samples, ids_NC, on_batch=lambda rows: progress.advance(bar, rows)
        )


def fit_teacher(
    layout: FeatureLayout,
    ids_NC: Tensor,
    targets_NT: Tensor,
    *,
    sizes: PleConfig,
    training: TeacherTraining,
    seed: int,
    progress: Progress,
) -> Teacher:
    """Train the teacher and draw its weight sets.

    Args:
        layout: Where the features lie.
        ids_NC: Feature ids of the labelled rows.
        targets_NT: Labels; NaN where masked or outside the task's population.
        sizes: Sizes of the net.
        training: Schedule.
        seed: Seed of the weight sets; initial weights and batches come from torch's generator.
        progress: Where the bars are shown.
    """
    net = Ple(layout, targets_NT.shape[1], sizes)
    _start_at_base_rates(net, targets_NT)
    posterior = SwagPosterior(training.rank, training.scale)
    per_epoch = steps_per_epoch(len(ids_NC), training.batch)
    decay_steps = training.epochs * per_epoch
    gap = max(per_epoch // training.snapshots_per_epoch, 1)
    steps = decay_steps + training.snapshots * gap
    bar = progress.add_task("teacher", total=steps)

    def after_step(taken: int) -> None:
        if taken > decay_steps and (taken - decay_steps) % gap == 0:
            posterior.collect(dict(net.named_parameters()))
        progress.advance(bar)

    run_steps(
        net,
        rows=len(ids_NC),
        batch=training.batch,
        steps=steps,
        learning_rate=lambda step: cosine(
            step, decay_steps, training.learning_rate, training.swag_learning_rate
        ),
        loss=lambda rows: masked_bce(net(ids_NC[rows]), targets_NT[rows]),
        after_step=after_step,
        weight_decay=training.weight_decay,
    )
    net.load_state_dict(posterior.mean_weights(), strict=False)
    return Teacher(net, posterior, posterior.sample(training.samples, seed))


@torch.no_grad()
def _start_at_base_rates(net: Ple, targets_NT: Tensor) -> None:
    """Let each task's first prediction be its base rate, so that rare tasks need not find it."""
    rates_T = targets_NT.nanmean(0).nan_to_num(nan=0.5).clamp(1e-4, 1 - 1e-4)
    net.tower_out.bias_E1O.copy_(rates_T.logit().view(-1, 1, 1))
