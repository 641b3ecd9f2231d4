"""Measures one net, or gradient boosting, or the truth, in one world.

N requests, T tasks.
"""

import time
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from models.tasks import TaskSet
from trainer.evaluation.metrics import evaluate
from trainer.experiments import measures
from trainer.experiments.data import Dataset, Score, Source, World
from trainer.experiments.raw import Measured
from trainer.training.context import FitContext
from trainer.training.early_stopping import choose_steps, needs_pilot
from trainer.training.loop import deterministic
from trainer.training.objective.funnel import Funnel
from trainer.training.teacher import Teacher, fit_teacher
from trainer.uncertainty.boosting import PARAMETERS, fit_boosting
from trainer.uncertainty.method import Float32Array, Ids
from trainer.zoo.plan import Trial, ZooPlan, boosting_trials, net_trials

BOOSTING, TRUTH = "lightgbm", "truth"
TIMED = 4_096
"""Requests of a timed pass of one weight set."""


def measure_net(source: Source, plan: ZooPlan, kind: str, context: FitContext) -> Measured:
    """Tune a kind on the validation rows, and measure its best trial on the test rows."""
    world = world_of(source, plan, context.seed)
    started, best = time.perf_counter(), None
    for trial in net_trials(plan, kind, context.seed):
        teacher = fitted(world, trial, context)
        loss = mean_log_loss(predicted(teacher, world.valid.ids_NC), world.valid, world.tasks)
        if best is None or loss < best[0]:
            best = (loss, teacher)
    assert best is not None
    spent_s = time.perf_counter() - started
    teacher = best[1]
    measured = Measured()
    scores_NT = predicted(teacher, world.test.ids_NC)
    measured.add(f"nets.{kind}", quality(scores_NT, world.test, world.tasks, plan))
    weights = sum(weight.numel() for weight in teacher.net.parameters())
    measured.add(
        f"nets.{kind}.cost",
        {
            "parameters": weights,
            "train_s": spent_s / plan.trials,
            "teacher_us": pass_us(teacher, world.test.ids_NC),
        },
    )
    return measured


def measure_boosting(source: Source, plan: ZooPlan, context: FitContext) -> Measured:
    """The same for LightGBM, the reference; it has as many trials."""
    world = world_of(source, plan, context.seed)
    rows = world.train.rows(world.tasks)
    started, best = time.perf_counter(), None
    for trial in boosting_trials(plan, context.seed):
        parameters = PARAMETERS | trial
        boosting = fit_boosting(
            rows.ids_NC, rows.targets_NT, seed=context.seed, parameters=parameters
        )
        loss = mean_log_loss(boosting.predict(world.valid.ids_NC), world.valid, world.tasks)
        if best is None or loss < best[0]:
            best = (loss, boosting)
    assert best is not None
    measured = Measured()
    scores_NT = best[1].predict(world.test.ids_NC)
    measured.add(f"nets.{BOOSTING}", quality(scores_NT, world.test, world.tasks, plan))
    spent_s = (time.perf_counter() - started) / plan.trials
    measured.add(f"nets.{BOOSTING}.cost", {"train_s": spent_s})
    return measured


def measure_truth(source: Source, plan: ZooPlan, context: FitContext) -> Measured:
    """The true probabilities, the ceiling of any net; nothing where they are unknown."""
    world, measured = world_of(source, plan, context.seed), Measured()
    if world.test.p_true_NT is not None:
        truth_NT = world.test.p_true_NT.astype(np.float32)
        measured.add(f"nets.{TRUTH}", quality(truth_NT, world.test, world.tasks, plan))
    return measured


def quality(
    scores_NT: Float32Array, part: Dataset, tasks: TaskSet, plan: ZooPlan
) -> dict[str, float]:
    """Metrics per task, the funnel's consistency, and the value that the best rows keep.

    ``inconsistent`` is the share of rows and steps where a task is more probable than the one
    before it. ``kept`` is the share of the value that passes at r, if rows are ranked by their
    expected value with the configured weights.
    """
    found: dict[str, float] = {}
    for task, metrics in evaluate(scores_NT, part.targets(tasks), tasks).items():
        for name in ("auc_roc", "auc_pr", "log_loss", "ece"):
            value = getattr(metrics, name)
            found[f"{task}.{name}"] = float("nan") if value is None else value
    found["log_loss"] = float(np.nanmean([found[f"{task}.log_loss"] for task in tasks.names]))
    on_all_NT, funnel = tasks.on_all_requests(scores_NT), Funnel.of(tasks)
    steps = [(funnel.before(task), task) for task in range(len(tasks))]
    above = [
        float((on_all_NT[:, task] > on_all_NT[:, before]).mean())
        for before, task in steps
        if before is not None
    ]
    found["inconsistent"] = float(np.mean(above)) if above else 0.0
    weights_T = np.array([plan.config.auto_weights.get(name, 1.0) for name in tasks.names])
    value_N = sum(
        weight * part.value(tasks, name)
        for weight, name in zip(weights_T, tasks.names, strict=True)
    )
    passed_N = measures.top(on_all_NT @ weights_T, round((1 - plan.rate) * len(part)))
    found["kept"] = float(value_N[passed_N].sum() / value_N.sum())
    return found


def mean_log_loss(scores_NT: Float32Array, part: Dataset, tasks: TaskSet) -> float:
    """Mean log-loss over the tasks that have one."""
    losses = [m.log_loss for m in evaluate(scores_NT, part.targets(tasks), tasks).values()]
    return float(np.nanmean([np.nan if loss is None else loss for loss in losses]))


def fitted(world: World, trial: Trial, context: FitContext) -> Teacher:
    """A teacher of the training rows; early stopping chooses the steps on small tables."""
    rows = world.train.rows(world.tasks)
    ids_NC, targets_NT = torch.from_numpy(rows.ids_NC), torch.from_numpy(rows.targets_NT)
    context = FitContext(context.seed, context.progress, funnel=Funnel.of(world.tasks))
    fit = partial(fit_teacher, world.layout, ids_NC, targets_NT, config=trial.net, context=context)
    with deterministic(torch.get_num_threads(), context.seed):
        training = trial.training
        if needs_pilot(len(rows), training):
            steps = choose_steps(
                *(world.layout, ids_NC, targets_NT),
                config=trial.net, training=training, context=context,
            )  # fmt: skip
            return fit(training=replace(training, steps=steps))
        return fit(training=training)


def predicted(teacher: Teacher, ids_NC: Ids) -> Float32Array:
    """The teacher's mean probabilities."""
    scores_NT: Float32Array = teacher.predict(torch.from_numpy(ids_NC))[0].numpy()
    return scores_NT


@torch.no_grad()
def pass_us(teacher: Teacher, ids_NC: Ids) -> float:
    """Microseconds per request of one weight set, the least of five passes."""
    ids_KC = torch.from_numpy(ids_NC[:TIMED])
    times = []
    for _ in range(5):
        started = time.perf_counter()
        teacher.net(ids_KC)
        times.append(time.perf_counter() - started)
    return 1e6 * min(times) / len(ids_KC)


def world_of(source: Source, plan: ZooPlan, seed: int) -> World:
    """The setting ``base``: training and test rows of the same traffic."""
    return source.world("base", seed, plan.sizes, _no_earlier_model, plan.rate)


def _no_earlier_model(_: Dataset) -> Score:
    raise AssertionError("the setting base has no earlier model")
