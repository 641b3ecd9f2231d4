"""Searches on the rows of a source, tries what was found, and random draws at equal cost."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from models.nets.config import Architecture, TeacherConfig
from trainer.experiments.data import World
from trainer.search.random_search import best_of_draws
from trainer.search.search import SearchPlan, search
from trainer.training.checkpoint import Checkpoint
from trainer.training.config import TrainConfig
from trainer.training.context import FitContext
from trainer.training.loop import deterministic
from trainer.zoo.measure import fitted, mean_log_loss, predicted
from trainer.zoo.plan import Trial


@dataclass(frozen=True, slots=True)
class Tried:
    """An architecture and the losses of a teacher of it.

    Attributes:
        name: How it was found.
        architecture: None for the default kind.
        valid: Mean log-loss on the validation rows.
        test: The same on the test rows.
        seconds: Time to find it, and to fit it.
        tried: Architectures that were fitted to find it.
    """

    name: str
    architecture: Architecture | None
    valid: float
    test: float
    seconds: float
    tried: int = 1


def run_search(
    world: World,
    plan: SearchPlan,
    config: TrainConfig,
    context: FitContext,
    *,
    checkpoint: Path | None = None,
    against_random: bool = False,
) -> list[Tried]:
    """Search, fit what was found and the default kind, and random draws for as long.

    Args:
        world: Training, validation and test rows.
        plan: Sizes of the search.
        config: Widths and schedule.
        context: Seed and progress display.
        checkpoint: Folder that an interrupted search resumes from; removed at its end.
        against_random: Whether to try random architectures for the time that the search took.
    """
    net = replace(config.net, kind="automtl")
    fit = _fit_of(world, config, context)
    started = time.perf_counter()
    saved = _checkpoint(checkpoint, world, plan, config, context)
    with deterministic(torch.get_num_threads(), context.seed):
        found = search(
            world.layout,
            world.train.rows(world.tasks),
            world.valid.rows(world.tasks),
            config=net,
            training=config.teacher,
            plan=plan,
            context=replace(context, checkpoint=saved),
        )
    if saved is not None:
        saved.remove()
    valid, test = fit(replace(net, architecture=found))
    spent_s = time.perf_counter() - started
    results = [Tried("search", found, valid, test, spent_s)]
    started = time.perf_counter()
    valid, test = fit(config.net)
    results.append(Tried(config.net.kind, None, valid, test, time.perf_counter() - started))
    if against_random:
        started = time.perf_counter()
        drawn, _, tried = best_of_draws(
            plan,
            len(world.tasks),
            context.seed,
            lambda each: fit(replace(net, architecture=each))[0],
            spent_s,
        )
        valid, test = fit(replace(net, architecture=drawn))
        seconds = time.perf_counter() - started
        results.append(Tried("random", drawn, valid, test, seconds, tried))
    return results


def _fit_of(
    world: World, config: TrainConfig, context: FitContext
) -> Callable[[TeacherConfig], tuple[float, float]]:
    def fit(net: TeacherConfig) -> tuple[float, float]:
        teacher = fitted(world, Trial(net, config.teacher), context)
        valid, test = (
            mean_log_loss(predicted(teacher, part.ids_NC), part, world.tasks)
            for part in (world.valid, world.test)
        )
        return valid, test

    return fit


def _checkpoint(
    folder: Path | None, world: World, plan: SearchPlan, config: TrainConfig, context: FitContext
) -> Checkpoint | None:
    if folder is None:
        return None
    identity = {
        "rows": [len(world.train), len(world.valid)],
        "plan": repr(plan),
        "config": config.to_dict(),
        "seed": context.seed,
    }
    return Checkpoint(folder, identity)
