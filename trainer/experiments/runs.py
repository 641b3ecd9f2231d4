"""Lists the units of a run, and runs those that are not finished yet."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Final

import torch
from rich.progress import Progress

from models.errors import UserError
from models.features import FeatureSpec
from trainer.experiments.data import Source
from trainer.experiments.families import measure_family
from trainer.experiments.methods import measure_settings
from trainer.experiments.plan import Plan
from trainer.experiments.raw import Measured, RawStore
from trainer.experiments.rounds import measure_rounds
from trainer.experiments.simulated import SimulatedSource
from trainer.experiments.sweeps import (
    measure_sensitivity,
    measure_shape,
    measure_speed,
    measure_teacher,
)
from trainer.simulation.funnel import RATES_T, FunnelShape
from trainer.simulation.markets import MARKETS, Market
from trainer.training.context import FitContext

Work = Callable[[FitContext], Measured]
SETTINGS_TOGETHER: Final = (("base", "drift"), ("selected",), ("small",))
"""Settings of a group have the same training rows in simulated data: models are fitted once."""


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of work that is run as a whole and stored when it is finished."""

    name: str
    seed: int
    work: Work


def units(source: Source, plan: Plan, spec: FeatureSpec) -> Iterator[Unit]:
    """All units of a run in order of importance, each for all its seeds.

    Args:
        source: Data; the funnel's shape is varied in simulated data only.
        plan: Sizes and seeds.
        spec: Feature spec of the simulated worlds.
    """
    seeds = range(1, plan.seeds + 1)
    for together in SETTINGS_TOGETHER:
        name = f"settings/{'+'.join(together)}"
        for seed in seeds:
            yield Unit(name, seed, partial(measure_settings, source, plan, together))
    if isinstance(source, SimulatedSource):
        yield from _markets(plan, spec, seeds)
    for teacher in plan.teachers:
        for seed in seeds:
            if seed <= plan.transformer_seeds or "transformer" not in teacher:
                yield Unit(f"kind/{teacher}", seed, partial(measure_teacher, source, plan, teacher))
    for seed in seeds:
        yield Unit("speed", seed, partial(measure_speed, source, plan))
        yield Unit("sensitivity", seed, partial(measure_sensitivity, source, plan))
    for seed in seeds[: plan.shape_seeds]:
        yield Unit("rounds", seed, partial(measure_rounds, source, plan))
        if isinstance(source, SimulatedSource):
            yield from _shapes(plan, spec, source.market, seed)


def _markets(plan: Plan, spec: FeatureSpec, seeds: range) -> Iterator[Unit]:
    for name, market in MARKETS.items():
        for seed in seeds:
            yield Unit(f"markets/{name}", seed, partial(measure_family, spec, plan, market))


def _shapes(plan: Plan, spec: FeatureSpec, market: Market, seed: int) -> Iterator[Unit]:
    shapes = {
        f"correlation.{level:g}".replace("0.", "0_"): FunnelShape(RATES_T, level)
        for level in plan.shared
    }
    shapes |= {f"sparsity.{name}": FunnelShape(rates_T) for name, rates_T in plan.sparsity}
    for name, shape in shapes.items():
        source = SimulatedSource(spec, replace(shape, auc_T=market.shape.auc_T), market)
        yield Unit(name, seed, partial(measure_shape, source, plan, name))


def named(todo: Iterable[Unit], prefix: str) -> list[Unit]:
    """The units whose names begin with ``prefix``.

    Raises:
        UserError: If there is none.
    """
    every = list(todo)
    found = [unit for unit in every if unit.name.startswith(prefix)]
    if not found:
        names = dict.fromkeys(unit.name for unit in every)
        raise UserError(f"--only: no unit begins with {prefix!r}; there are {', '.join(names)}")
    return found


def share_of(todo: Iterable[Unit], number: int, parts: int) -> list[Unit]:
    """Every ``parts``-th unit for part ``number``, from 1, so that long units are spread."""
    return list(islice(todo, number - 1, None, parts))


def run(todo: list[Unit], store: RawStore, progress: Progress) -> None:
    """Run the units that are not in the store, one after another, on one thread."""
    left = [unit for unit in todo if (unit.name, unit.seed) not in store.done]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    bar = progress.add_task("experiments", total=len(left))
    try:
        for unit in left:
            progress.update(bar, description=f"experiments: {unit.name}, seed {unit.seed}")
            before = set(progress.task_ids)
            store.put(unit.name, unit.seed, unit.work(FitContext(unit.seed, progress)))
            for task in set(progress.task_ids) - before:
                progress.remove_task(task)
            progress.advance(bar)
    finally:
        torch.set_num_threads(threads)
