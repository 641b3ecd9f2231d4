"""Steps of the funnel: each task given the one that contains it, where the labels show such a one.

A deal needs a cart, a cart a click. So p(deal) = p(click) p(cart | click) p(deal | cart), and the
many clicks teach what the few deals cannot: the product's error is mostly that of its rarest step
on its own rows (entire-space models learn the product at once: Ma et al., SIGIR 2018, eq. 1).
Whether the events are nested is looked up in the labels, since some advertisers' are not.

N rows, T tasks.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch

from trainer.training.objective.funnel import Funnel
from trainer.uncertainty.method import Float32Array

NESTED: Final = 0.99
"""Share of a task's events within those of another one from which they count as nested."""
LEAST_EVENTS: Final = 50
"""Events that this is looked up in."""


@dataclass(frozen=True, slots=True)
class Steps:
    """For each task the one that its step starts from.

    Attributes:
        parents: Number of that task; None if the step starts from all requests.
        own_population: Whether the task's score is that of its step, because its population is its
            parent.
    """

    parents: tuple[int | None, ...]
    own_population: tuple[bool, ...]

    @classmethod
    def of(cls, targets_NT: Float32Array, funnel: Funnel) -> Self:
        """The steps that the labels show."""
        known_NT = funnel.labels_on_all(torch.from_numpy(targets_NT)).numpy()
        parents: list[int | None] = []
        for task in range(targets_NT.shape[1]):
            population = funnel.population(task)
            earlier = [population] if population is not None else range(task - 1, -1, -1)
            parents.append(
                next((o for o in earlier if population == o or _nested(known_NT, task, o)), None)
            )
        tasks = range(len(parents))
        return cls(tuple(parents), tuple(funnel.population(task) is not None for task in tasks))

    def targets(self, targets_NT: Float32Array) -> Float32Array:
        """Labels of the steps; NaN where the step was not reached, or that is unknown."""
        columns = [
            column_N
            if self.own_population[task] or parent is None
            else np.where(targets_NT[:, parent] == 1, column_N, np.float32(np.nan))
            for task, (column_N, parent) in enumerate(zip(targets_NT.T, self.parents, strict=True))
        ]
        return np.stack(columns, axis=1)

    def scores(self, steps_NT: Float32Array) -> Float32Array:
        """Probabilities of the tasks on their populations, of those of the steps."""
        on_all: list[Float32Array] = []
        scores: list[Float32Array] = []
        for task, parent in enumerate(self.parents):
            step_N = steps_NT[:, task]
            on_all.append(step_N if parent is None else step_N * on_all[parent])
            scores.append(step_N if self.own_population[task] else on_all[task])
        return np.stack(scores, axis=1)


def _nested(known_NT: Float32Array, task: int, other: int) -> bool:
    """Whether the task's events are among the other's, as far as both are known."""
    inside_K = known_NT[known_NT[:, task] == 1, other]
    inside_K = inside_K[~np.isnan(inside_K)]
    return len(inside_K) >= LEAST_EVENTS and float(inside_K.mean()) >= NESTED
