"""Fitting nets on labels: the teacher, with SWAG at the end of its training, and single nets.

The teacher's learning rate decays before the first snapshot and stays constant while snapshots are
taken: their average is better than any of them, and their spread is the uncertainty. A single net
takes as many steps with a rate that decays to zero.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from models.nets.config import TeacherConfig
from models.nets.embedding import FeatureLayout
from models.nets.heads import LOGIT, Head
from models.nets.losses import LearnedTaskWeights, TaskWeights, masked_mean
from models.nets.swag import SwagPosterior, refuse_statistics
from models.nets.teacher import OutputNet, TeacherNet, build_teacher
from models.nets.weight_sets import Weights, predict_moments
from trainer.training.config import TeacherTraining
from trainer.training.context import FitContext
from trainer.training.delay.method import Correction
from trainer.training.devices import ONE_CPU, Devices
from trainer.training.loop import Stateful, cosine, run_steps, steps_per_epoch
from trainer.training.objective.conflicts import without_conflicts
from trainer.training.objective.objective import Batch, make_objective
from trainer.training.rows import counts


@dataclass(frozen=True, slots=True)
class Teacher:
    """A fitted teacher.

    Attributes:
        net: The net at the mean of the snapshots.
        posterior: The SWAG posterior that weight sets are drawn from.
        samples: The M weight sets that it predicts with.
        seed: Seed that the sets were drawn with.
        devices: Devices for predictions.
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
        """A teacher with ``count`` weight sets, which lie on the device."""
        samples = _moved(posterior.sample(count, seed), devices)
        return cls(net, posterior, samples, seed, devices)

    def redrawn(self, number: int) -> "Teacher":
        """The same teacher with as many other weight sets, which ``number`` determines."""
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        return self.drawn(self.net, self.posterior, len(self.samples), seed, self.devices)

    def on_cpu(self) -> "Teacher":
        """The same teacher on the CPU: itself, if it is there already."""
        if self.devices.device.type == "cpu":
            return self
        samples = [{name: weight.cpu() for name, weight in each.items()} for each in self.samples]
        return Teacher(deepcopy(self.net).cpu(), self.posterior, samples, self.seed)

    def predict(self, ids_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the probabilities, each (N, T), on the CPU."""
        mean_NT, std_NT = predict_moments(self.net, self.samples, self.devices.put(ids_NC))
        return mean_NT.cpu(), std_NT.cpu()


@dataclass(frozen=True, slots=True)
class Schedule:
    """Steps of a fit: ``decay`` steps with a falling rate, then snapshots ``gap`` steps apart.

    Where ``training.steps`` is given, the gap keeps the same ratio to the decay as with epochs.
    """

    decay: int
    gap: int
    steps: int

    @classmethod
    def of(cls, rows: int, training: TeacherTraining) -> "Schedule":
        """The schedule for this number of rows."""
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
    context: FitContext,
    weights_N: Tensor | None = None,
    prepare: Callable[[OutputNet], object] = lambda _: None,
    correction: Correction | None = None,
) -> Teacher:
    """Train the teacher with torch's generator; draw its weight sets with the context's seed.

    Args:
        layout: Rows of the embedding table by column.
        ids_NC: Feature ids of the labelled rows.
        targets_NT: Labels; NaN where masked or outside the task's population.
        config: Kind and sizes of the net.
        training: Schedule.
        context: Seed of the weight sets; devices, progress bars and checkpoint.
        weights_N: Number of requests that each row represents; None for one each.
        prepare: Called with the net before its first step; may give it other initial weights.
        correction: Loss of rows with open labels, in place of that of the targets, which then only
            determine the base rates.
    """
    net = build_teacher(layout, targets_NT.shape[1], config)
    net.start_at(LOGIT.start(base_rates(targets_NT)))
    prepare(net)
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
        name="teacher",
        training=training,
        steps=schedule.steps,
        learning_rate=lambda step: cosine(
            step, schedule.decay, training.learning_rate, training.swag_learning_rate
        ),
        context=context,
        after_step=after_step,
        extra_state=posterior,
        weights_N=weights_N,
        correction=correction,
    )
    net.load_state_dict(posterior.mean_weights(), strict=False)
    return Teacher.drawn(net, posterior, training.samples, context.seed, context.devices)


def fit_single(
    net: OutputNet,
    ids_NC: Tensor,
    targets_NT: Tensor,
    *,
    name: str,
    training: TeacherTraining,
    context: FitContext,
    head: Head = LOGIT,
) -> None:
    """Train one net in place, over the teacher's number of steps, with a rate decaying to zero.

    Args:
        net: The net with its initial weights.
        ids_NC: Feature ids of the labelled rows.
        targets_NT: Labels; NaN where masked or outside the task's population.
        name: Name of the fit, shown at its bar.
        training: Schedule; snapshots count as steps, but none are taken.
        context: Devices, progress bars and checkpoint.
        head: Interpretation of the outputs.
    """
    steps = Schedule.of(len(ids_NC), training).steps
    fit_net(
        net,
        ids_NC,
        targets_NT,
        name=name,
        training=training,
        steps=steps,
        learning_rate=lambda step: cosine(step, steps, training.learning_rate, 0.0),
        context=context,
        head=head,
    )


def base_rates(targets_NT: Tensor) -> Tensor:
    """Share of positives per task among its unmasked rows, away from 0 and 1; shape (T,)."""
    known_T, positives_T = counts(targets_NT)
    return (positives_T / known_T).nan_to_num(nan=0.5).clamp(1e-4, 1 - 1e-4)


def _moved(samples: list[Weights], devices: Devices) -> list[Weights]:
    """The weight sets on the device; tensors that they share are moved once and stay shared."""
    moved = {id(weight): devices.put(weight) for sample in samples for weight in sample.values()}
    return [{name: moved[id(weight)] for name, weight in sample.items()} for sample in samples]


def fit_net(
    net: OutputNet,
    ids_NC: Tensor,
    targets_NT: Tensor,
    *,
    name: str,
    training: TeacherTraining,
    steps: int,
    learning_rate: Callable[[int], float],
    context: FitContext,
    head: Head = LOGIT,
    after_step: Callable[[int], None] = lambda _: None,
    should_stop: Callable[[int], bool] = lambda _: False,
    extra_state: Stateful | None = None,
    weights_N: Tensor | None = None,
    correction: Correction | None = None,
) -> None:
    """Train a net in place on the labels; see :func:`~trainer.training.loop.run_steps`.

    Args:
        net: The net with its initial weights.
        ids_NC: Feature ids of the rows.
        targets_NT: Labels; NaN where masked or outside the task's population.
        name: Name of the fit.
        training: Batch, weight decay, and the tasks' weights.
        steps: Most steps that are taken.
        learning_rate: Learning rate by number of the step.
        context: Devices, progress bars and checkpoint.
        head: Interpretation of the outputs.
        after_step: Called with the number of steps taken so far.
        should_stop: Called with the number of steps taken; True ends the fit.
        extra_state: State that ``after_step`` changes and later steps depend on.
        weights_N: Number of requests that each row represents; None for one each.
        correction: Loss in place of that of head and targets.
    """
    loss = _FitLoss(net, ids_NC, targets_NT, training, context, head, weights_N, correction)
    run_steps(
        nn.ModuleList([net, *loss.parts]).to(context.devices.device),
        rows=len(ids_NC),
        batch=training.batch,
        steps=steps,
        learning_rate=learning_rate,
        loss=loss,
        after_step=after_step,
        name=name,
        context=context,
        should_stop=should_stop,
        weight_decay=training.weight_decay,
        extra_state=extra_state,
    )


class _FitLoss:
    """The loss of a batch of a fit; arguments as of `fit_net`.

    Attributes:
        parts: The modules that are trained with the net: objective and weights of the tasks.
    """

    def __init__(
        self,
        net: OutputNet,
        ids_NC: Tensor,
        targets_NT: Tensor,
        training: TeacherTraining,
        context: FitContext,
        head: Head,
        weights_N: Tensor | None,
        correction: Correction | None,
    ) -> None:
        self._net, self._ids_NC, self._targets_NT = net, ids_NC, targets_NT
        self._devices, self._funnel = context.devices, context.funnel
        self._training, self._head = training, head
        self._weights_N, self._correction = weights_N, correction
        tasks = targets_NT.shape[1]
        self._objective = make_objective(training.objective, net, tasks)
        self._task_weights = _task_weights(training, tasks)
        self.parts = nn.ModuleList([self._task_weights, self._objective])

    def __call__(self, rows_B: Tensor, step: int) -> Tensor:
        """Loss of the rows with these numbers."""
        put = self._devices.put
        ids_BC = put(self._ids_NC[rows_B])
        targets_BT = put(self._targets_NT[rows_B])
        weights_B = None if self._weights_N is None else put(self._weights_N[rows_B])
        outputs_BTO = self._net.outputs(ids_BC)
        counted_BT = targets_BT
        if self._correction is None:
            epochs = step * self._training.batch / len(self._ids_NC)
            losses_T = self._head.losses(outputs_BTO, targets_BT, epochs, weights_B)
        else:
            counted_BT = put(self._correction.targets_NT[rows_B])
            losses_BT = self._correction.losses(outputs_BTO[:, :, 0].float(), rows_B)
            losses_T = masked_mean(lambda _: losses_BT, counted_BT, weights_B)
        batch = Batch(
            ids_BC, outputs_BTO, targets_BT, weights_B, losses_T, self._head, self._funnel
        )
        weighted_T = self._objective(batch) * self._devices.weights(counted_BT, weights_B)
        if self._training.task_weights == "pcgrad":
            total = without_conflicts(weighted_T, self._net.parameters())
        else:
            total = self._task_weights(weighted_T)
        return total + self._net.penalty


def _task_weights(training: TeacherTraining, tasks: int) -> nn.Module:
    """The module that combines the tasks' losses into one.

    Raises:
        ValueError: If the configured weights are not one per task.
    """
    if training.task_weights == "learned":
        return LearnedTaskWeights(tasks)
    if training.task_weights in ("equal", "pcgrad"):
        return TaskWeights(torch.ones(tasks))
    if len(training.task_weights) != tasks:
        raise ValueError(
            f"teacher.task_weights: {len(training.task_weights)} weights for {tasks} tasks; "
            "give one per task"
        )
    return TaskWeights(torch.tensor(training.task_weights))
