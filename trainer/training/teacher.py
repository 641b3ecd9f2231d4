"""Fitting nets on labels: the teacher with SWAG over the end of its training, and single nets.

The teacher's learning rate decays well before the first snapshot and stays constant while they are
taken: the average of the snapshots is better than any of them, their spread is the uncertainty. A
single net takes as many steps with a rate that decays to zero.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from rich.progress import Progress
from torch import Tensor, nn

from models.nets.config import TeacherConfig
from models.nets.embedding import FeatureLayout
from models.nets.heads import LOGIT, Head
from models.nets.losses import LearnedTaskWeights, TaskWeights
from models.nets.swag import SwagPosterior, refuse_statistics
from models.nets.teacher import OutputNet, TeacherNet, build_teacher
from models.nets.weight_sets import Weights, predict_moments
from trainer.training.checkpoint import StateFile
from trainer.training.config import TeacherTraining
from trainer.training.devices import Devices
from trainer.training.loop import ONE_CPU, Stateful, cosine, run_steps, steps_per_epoch
from trainer.training.rows import counts


@dataclass(frozen=True, slots=True)
class Teacher:
    """A fitted teacher.

    Attributes:
        net: At the mean of the snapshots.
        posterior: What weight sets are drawn from.
        samples: The M sets that it predicts with.
        seed: What they were drawn with.
        devices: Where it predicts.
    """

    net: TeacherNet
    posterior: SwagPosterior
    samples: list[Weights]
    seed: int
    devices: Devices = ONE_CPU

    @classmethod
    def drawn(
        cls, net: TeacherNet, posterior: SwagPosterior, count: int, seed: int, devices: Devices
    ) -> "Teacher":
        """A teacher with ``count`` sets, on the device."""
        samples = _moved(posterior.sample(count, seed), devices)
        return cls(net, posterior, samples, seed, devices)

    def redrawn(self, number: int) -> "Teacher":
        """The same teacher with as many other sets, which follow from seed and number."""
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        return self.drawn(self.net, self.posterior, len(self.samples), seed, self.devices)

    def on_cpu(self) -> "Teacher":
        """The same teacher on the processor: itself, if it is there already."""
        if self.devices.device.type == "cpu":
            return self
        samples = [{name: weight.cpu() for name, weight in each.items()} for each in self.samples]
        return Teacher(deepcopy(self.net).cpu(), self.posterior, samples, self.seed)

    def predict(self, ids_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the probabilities, each (N, T), on the processor."""
        mean_NT, std_NT = predict_moments(self.net, self.samples, self.devices.put(ids_NC))
        return mean_NT.cpu(), std_NT.cpu()


@dataclass(frozen=True, slots=True)
class Schedule:
    """Steps of a fit: ``decay`` with a falling rate, then snapshots ``gap`` steps apart.

    Steps that are given outright count as the epochs that they stand for: the snapshots lie as far
    apart, measured in the decay, as with epochs.
    """

    decay: int
    gap: int
    steps: int

    @classmethod
    def of(cls, rows: int, training: TeacherTraining) -> "Schedule":
        """The schedule for so many rows."""
        per_epoch = steps_per_epoch(rows, training.batch)
        if training.steps is not None:
            decay, per_epoch = training.steps, training.steps // max(training.epochs, 1)
        else:
            decay = training.epochs * per_epoch
        gap = max(per_epoch // training.snapshots_per_epoch, 1)
        return cls(decay, gap, decay + training.snapshots * gap)


def fit_teacher(
    layout: FeatureLayout,
    ids_NC: Tensor,
    targets_NT: Tensor,
    *,
    config: TeacherConfig,
    training: TeacherTraining,
    seed: int,
    progress: Progress,
    devices: Devices = ONE_CPU,
    saved: StateFile | None = None,
    weights_N: Tensor | None = None,
) -> Teacher:
    """Train the teacher and draw its weight sets.

    Args:
        layout: Where the features lie.
        ids_NC: Feature ids of the labelled rows.
        targets_NT: Labels; NaN where masked or outside the task's population.
        config: Kind and sizes of the net.
        training: Schedule.
        seed: Seed of the weight sets; initial weights and batches come from torch's generator.
        progress: Where the bar is shown.
        devices: Where it is trained.
        saved: Where training goes on if it was interrupted.
        weights_N: For how many requests each row stands; None for one each.
    """
    net = build_teacher(layout, targets_NT.shape[1], config)
    net.start_at(LOGIT.start(base_rates(targets_NT)))
    refuse_statistics(net)
    posterior = SwagPosterior(
        training.rank,
        training.scale,
        lambda name: training.spread_embeddings or not name.startswith("embedding."),
    )
    schedule = Schedule.of(len(ids_NC), training)

    def after_step(taken: int) -> None:
        past = taken - schedule.decay
        if past > 0 and past % schedule.gap == 0:
            posterior.collect({name: weight.cpu() for name, weight in net.named_parameters()})

    fit_net(
        net,
        ids_NC,
        targets_NT,
        head=LOGIT,
        training=training,
        steps=schedule.steps,
        rate=lambda step: cosine(
            step, schedule.decay, training.learning_rate, training.swag_learning_rate
        ),
        after_step=after_step,
        progress=progress,
        label="teacher",
        devices=devices,
        saved=saved,
        besides=posterior,
        weights_N=weights_N,
    )
    net.load_state_dict(posterior.mean_weights(), strict=False)
    return Teacher.drawn(net, posterior, training.samples, seed, devices)


def fit_single(
    net: OutputNet,
    ids_NC: Tensor,
    targets_NT: Tensor,
    *,
    training: TeacherTraining,
    progress: Progress,
    label: str,
    head: Head = LOGIT,
) -> None:
    """Train one net in place, over the teacher's number of steps, with a rate decaying to zero.

    Args:
        net: With its initial weights.
        ids_NC: Feature ids of the labelled rows.
        targets_NT: Labels; NaN where masked or outside the task's population.
        training: Schedule; its snapshots count as steps only.
        progress: Where the bar is shown.
        label: What the bar says.
        head: What the outputs mean.
    """
    steps = Schedule.of(len(ids_NC), training).steps
    fit_net(
        net,
        ids_NC,
        targets_NT,
        head=head,
        training=training,
        steps=steps,
        rate=lambda step: cosine(step, steps, training.learning_rate, 0.0),
        after_step=lambda _: None,
        progress=progress,
        label=label,
    )


def base_rates(targets_NT: Tensor) -> Tensor:
    """Share of positives per task among its unmasked rows, away from 0 and 1; shape (T,)."""
    known_T, positives_T = counts(targets_NT)
    return (positives_T / known_T).nan_to_num(nan=0.5).clamp(1e-4, 1 - 1e-4)


def _moved(samples: list[Weights], devices: Devices) -> list[Weights]:
    """The sets on the device; what they share is moved once and stays shared."""
    there = {id(weight): devices.put(weight) for sample in samples for weight in sample.values()}
    return [{name: there[id(weight)] for name, weight in sample.items()} for sample in samples]


def fit_net(
    net: OutputNet,
    ids_NC: Tensor,
    targets_NT: Tensor,
    *,
    head: Head,
    training: TeacherTraining,
    steps: int,
    rate: Callable[[int], float],
    after_step: Callable[[int], None],
    progress: Progress,
    label: str,
    enough: Callable[[int], bool] = lambda _: False,
    devices: Devices = ONE_CPU,
    saved: StateFile | None = None,
    besides: Stateful | None = None,
    weights_N: Tensor | None = None,
) -> None:
    """Train a net in place on the labels.

    Args:
        net: With its initial weights.
        ids_NC: Feature ids of the rows.
        targets_NT: Labels; NaN where masked or outside the task's population.
        head: What the outputs mean.
        training: Batch, weight decay, and the tasks' weights.
        steps: Steps at most.
        rate: Learning rate of a step.
        after_step: Called with the number of steps taken so far.
        progress: Where the bar is shown.
        label: What the bar says.
        enough: Called with the number of steps taken; whether no more are needed.
        devices: Where it is trained.
        saved: Where training goes on if it was interrupted.
        besides: What ``after_step`` changes and the next steps depend on.
        weights_N: For how many requests each row stands; None for one each.
    """
    weights = _task_weights(training, targets_NT.shape[1])
    bar = progress.add_task(label, total=steps)
    taken = 0

    def loss(rows_B: Tensor) -> Tensor:
        epochs = taken * training.batch / len(ids_NC)
        targets_BT = devices.put(targets_NT[rows_B])
        weights_B = None if weights_N is None else devices.put(weights_N[rows_B])
        outputs_BTO = net.outputs(devices.put(ids_NC[rows_B]))
        losses_T = head.losses(outputs_BTO, targets_BT, epochs, weights_B)
        total: Tensor = weights(losses_T * devices.weights(targets_BT, weights_B))
        return total

    def stepped(steps: int) -> None:
        nonlocal taken
        taken = steps
        after_step(steps)
        progress.update(bar, completed=steps)

    run_steps(
        nn.ModuleList([net, weights]).to(devices.device),
        rows=len(ids_NC),
        batch=training.batch,
        steps=steps,
        learning_rate=rate,
        loss=loss,
        after_step=stepped,
        enough=enough,
        weight_decay=training.weight_decay,
        devices=devices,
        saved=saved,
        besides=besides,
    )


def _task_weights(training: TeacherTraining, tasks: int) -> nn.Module:
    """How the tasks' losses become one.

    Raises:
        ValueError: If the weights given are not one per task.
    """
    if training.task_weights == "learned":
        return LearnedTaskWeights(tasks)
    if training.task_weights == "equal":
        return TaskWeights(torch.ones(tasks))
    if len(training.task_weights) != tasks:
        raise ValueError(
            f"teacher.task_weights: {len(training.task_weights)} weights for {tasks} tasks; "
            "give one per task"
        )
    return TaskWeights(torch.tensor(training.task_weights))
