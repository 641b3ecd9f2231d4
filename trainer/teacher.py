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
from trainer.checkpoint import StateFile
from trainer.config import TeacherTraining
from trainer.devices import Devices
from trainer.fitting import ONE_CPU, cosine, run_steps, steps_per_epoch
from trainer.rows import counts


@dataclass(frozen=True, slots=True)
class Teacher:
    """A fitted teacher: its net and the M weight sets that it predicts with."""

    net: Ple
    posterior: SwagPosterior
    samples: list[Weights]
    devices: Devices = ONE_CPU

    def predict(self, ids_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the probabilities, each (N, T), on the processor."""
        mean_NT, std_NT = predict_moments(self.net, self.samples, self.devices.put(ids_NC))
        return mean_NT.cpu(), std_NT.cpu()


def fit_teacher(
    layout: FeatureLayout,
    ids_NC: Tensor,
    targets_NT: Tensor,
    *,
    sizes: PleConfig,
    training: TeacherTraining,
    seed: int,
    progress: Progress,
    devices: Devices = ONE_CPU,
    saved: StateFile | None = None,
) -> Teacher:
    """Train the teacher and draw its weight sets.

    Args:
        layout: Where the features lie.
        ids_NC: Feature ids of the labelled rows.
        targets_NT: Labels; NaN where masked or outside the task's population.
        sizes: Sizes of the net.
        training: Schedule.
        seed: Seed of the weight sets; initial weights and batches come from torch's generator.
        progress: Where the bar is shown.
        devices: Where it is trained.
        saved: Where training goes on if it was interrupted.
    """
    net = Ple(layout, targets_NT.shape[1], sizes)
    _start_at_base_rates(net, targets_NT)
    net.to(devices.device)
    posterior = SwagPosterior(training.rank, training.scale)
    per_epoch = steps_per_epoch(len(ids_NC), training.batch)
    decay_steps = training.epochs * per_epoch
    gap = max(per_epoch // training.snapshots_per_epoch, 1)
    steps = decay_steps + training.snapshots * gap
    bar = progress.add_task("teacher", total=steps)

    def after_step(taken: int) -> None:
        if taken > decay_steps and (taken - decay_steps) % gap == 0:
            posterior.collect({name: weight.cpu() for name, weight in net.named_parameters()})
        progress.update(bar, completed=taken)

    def loss(rows_B: Tensor) -> Tensor:
        targets_BT = devices.put(targets_NT[rows_B])
        logits_BT = net(devices.put(ids_NC[rows_B]))
        return masked_bce(logits_BT, targets_BT, devices.weights(targets_BT))

    run_steps(
        net,
        rows=len(ids_NC),
        batch=training.batch,
        steps=steps,
        learning_rate=lambda step: cosine(
            step, decay_steps, training.learning_rate, training.swag_learning_rate
        ),
        loss=loss,
        after_step=after_step,
        weight_decay=training.weight_decay,
        devices=devices,
        saved=saved,
        besides=posterior,
    )
    net.load_state_dict(posterior.mean_weights(), strict=False)
    samples = [
        {name: devices.put(weight) for name, weight in sample.items()}
        for sample in posterior.sample(training.samples, seed)
    ]
    return Teacher(net, posterior, samples, devices)


@torch.no_grad()
def _start_at_base_rates(net: Ple, targets_NT: Tensor) -> None:
    """Let each task's first prediction be its base rate, so that rare tasks need not find it."""
    known_T, positives_T = counts(targets_NT)
    rates_T = (positives_T / known_T).nan_to_num(nan=0.5).clamp(1e-4, 1 - 1e-4)
    net.tower_out.bias_E1O.copy_(rates_T.logit().view(-1, 1, 1))
