"""Random search: architectures drawn from the same space, as many as the search's time allows.

A comparison of search methods needs it: in large spaces most architectures are about as good, and
a search that costs ten fits must beat the best of ten draws.
"""

import time
from collections.abc import Callable

import numpy as np

from models.nets.config import BLOCKS, SEARCHED_INTERACTIONS, Architecture
from trainer.search.search import SearchPlan

Loss = Callable[[Architecture], float]
"""Fits a net of this architecture; its loss on the validation rows."""


def draw(plan: SearchPlan, tasks: int, rng: np.random.Generator) -> Architecture:
    """One architecture, all of them equally likely."""
    experts = tuple(
        tuple(str(name) for name in rng.choice(BLOCKS, plan.blocks)) for _ in range(plan.experts)
    )
    count = min(plan.selected, plan.experts)
    selected = tuple(
        tuple(sorted(int(e) for e in rng.choice(plan.experts, count, replace=False)))
        for _ in range(tasks)
    )
    interaction = str(rng.choice(SEARCHED_INTERACTIONS))
    return Architecture(interaction, experts, selected)  # type: ignore[arg-type]


def best_of_draws(
    plan: SearchPlan,
    tasks: int,
    seed: int,
    loss: Loss,
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Architecture, float, int]:
    """The best of the architectures that can be tried within the budget, at least one.

    Args:
        plan: Sizes of the architectures.
        tasks: T.
        seed: Seed of the draws.
        loss: Loss of an architecture; lower is better.
        budget_s: Seconds, the time that the search took.
        clock: Seconds, monotonic.

    Returns:
        The architecture, its loss, and how many were tried.
    """
    rng, started = np.random.default_rng(seed), clock()
    best: tuple[Architecture, float] | None = None
    tried = 0
    while best is None or clock() - started < budget_s:
        architecture = draw(plan, tasks, rng)
        found = loss(architecture)
        tried += 1
        if best is None or found < best[1]:
            best = architecture, found
    return (*best, tried)
