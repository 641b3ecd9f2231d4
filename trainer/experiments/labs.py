"""Makes the lab and the bench of a world."""

import numpy as np

from models.nets.embedding import FeatureLayout
from models.tasks import TaskSet
from trainer.experiments.data import Dataset, Fit, Float64Array, Score, World
from trainer.experiments.evaluation import Bench
from trainer.experiments.plan import Plan, sized
from trainer.training.config import TeacherTraining
from trainer.training.context import FitContext
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Ids


def lab_of(
    layout: FeatureLayout,
    part: Dataset,
    tasks: TaskSet,
    plan: Plan,
    context: FitContext,
    *,
    teacher: str | None = None,
    training: TeacherTraining | None = None,
) -> Lab:
    """Lab of these rows; teacher and training are the plan's by default."""
    return Lab(
        layout,
        part.rows(tasks),
        teacher=sized(plan.config.net, teacher or plan.teacher),
        training=training or plan.config.teacher,
        context=context,
    )


def bench_of(world: World, plan: Plan, seed: int, *, part: Dataset | None = None) -> Bench:
    """Bench of the world's test rows, or of ``part``."""
    rates_T = np.nanmean(world.train.targets(world.tasks).astype(np.float64), axis=0)
    return Bench(
        tasks=world.tasks,
        part=world.test if part is None else part,
        rates_T=rates_T,
        rate=plan.rate,
        share=plan.share,
        seed=seed,
    )


def earlier_model(layout: FeatureLayout, tasks: TaskSet, plan: Plan, context: FitContext) -> Fit:
    """Fits the earlier model: a single net that ranks by the weighted sum of its scores."""
    weights_T = np.array([plan.config.auto_weights.get(name, 1.0) for name in tasks.names])

    def fit(part: Dataset) -> Score:
        apart = context.with_seed(context.seed + 7919)
        single = lab_of(layout, part, tasks, plan, apart).single()

        def score(ids_NC: Ids) -> Float64Array:
            over_all_NT = tasks.on_all_requests(single.predict(ids_NC).mean_NT)
            return np.asarray(over_all_NT @ weights_T, np.float64)

        return score

    return fit
