"""The funnel of the tasks: whose population each task has, and which task comes before it.

N rows, T tasks.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from models.tasks import ALL_REQUESTS, TaskSet


@dataclass(frozen=True, slots=True)
class Funnel:
    """The order of the tasks.

    Attributes:
        populations: For each task the number of the task that is its population; None for all
            requests. Tasks beyond the last one listed have all requests as their population.
    """

    populations: tuple[int | None, ...] = ()

    @classmethod
    def of(cls, tasks: TaskSet) -> Self:
        """The funnel of configured tasks."""
        names = (task.population for task in tasks)
        return cls(tuple(None if n == ALL_REQUESTS else tasks.index(n) for n in names))

    def population(self, task: int) -> int | None:
        """The task that must have happened for this one to count."""
        return self.populations[task] if task < len(self.populations) else None

    def before(self, task: int) -> int | None:
        """The task whose events contain this one's: its population, or the one before it.

        Events of tasks over all requests are taken to be nested in their order: no deal without a
        cart, no cart without a click (APEM, section 2.1).
        """
        population = self.population(task)
        if population is not None:
            return population
        earlier = (other for other in range(task - 1, -1, -1) if self.population(other) is None)
        return next(earlier, None)

    def on_all(self, probabilities_NT: Tensor) -> Tensor:
        """Probabilities over all requests, of those on each task's population; (N, T)."""
        columns: list[Tensor] = []
        for task, column_N in enumerate(probabilities_NT.unbind(1)):
            population = self.population(task)
            columns.append(column_N if population is None else column_N * columns[population])
        return torch.stack(columns, dim=1)

    def labels_on_all(self, targets_NT: Tensor) -> Tensor:
        """Labels over all requests: 0 where the population's event did not happen; (N, T).

        Args:
            targets_NT: Labels; NaN where not known, or outside the task's population.
        """
        columns: list[Tensor] = []
        for task, column_N in enumerate(targets_NT.unbind(1)):
            population = self.population(task)
            if population is None:
                columns.append(column_N)
                continue
            happened_N = columns[population]
            known_N = torch.where(happened_N.isnan(), happened_N, column_N)
            columns.append(torch.where(happened_N == 0, happened_N, known_N))
        return torch.stack(columns, dim=1)
