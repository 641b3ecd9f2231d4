"""Tasks: the events of the conversion funnel that a filter predicts.

Tasks are configured: each has a name, the population that its probability refers to, and the
attribution window after which a missing outcome is a negative label. The default is the funnel of
the DAUM paper (section III-A): C2S click, online, add to cart, deal.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from models.bounds import MAX_TASK_NAME

if TYPE_CHECKING:  # `weir --help` needs no arrays
    import numpy as np
    import numpy.typing as npt

ALL_REQUESTS = "all"


class Task(BaseModel):
    """One event of the funnel.

    Attributes:
        name: Its name in outcomes, e.g. ``click``.
        population: Which requests the label and the probability refer to: ``all``, or the name
            of the task that must have happened (``online`` is learned on clicked requests).
        window_s: Attribution window in seconds from the request.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(min_length=1, max_length=MAX_TASK_NAME, pattern=r"^[a-z][a-z0-9_]*$")
    population: str = Field(default=ALL_REQUESTS, max_length=MAX_TASK_NAME)
    window_s: float = Field(gt=0)


class TaskSet:
    """Tasks in funnel order; the population of a task is all requests, or an earlier task.

    Raises:
        ValueError: If there is no task, a name occurs twice, or a population is unknown.
    """

    def __init__(self, tasks: Iterable[Task]) -> None:
        self._tasks = tuple(tasks)
        if not self._tasks:
            raise ValueError("tasks: at least one task is needed")
        seen: set[str] = set()
        for task in self._tasks:
            if task.name in seen or task.name == ALL_REQUESTS:
                raise ValueError(f"tasks: the name {task.name!r} is taken; give each task its own")
            if task.population != ALL_REQUESTS and task.population not in seen:
                raise ValueError(
                    f"tasks.{task.name}.population: {task.population!r} is neither 'all' nor a "
                    f"task listed before {task.name!r}"
                )
            seen.add(task.name)
        self.names: tuple[str, ...] = tuple(task.name for task in self._tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __getitem__(self, name: str) -> Task:
        return self._tasks[self.names.index(name)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskSet) and self._tasks == other._tasks

    def __hash__(self) -> int:
        return hash(self._tasks)

    def index(self, name: str) -> int:
        """Column of task ``name`` in every ``*_NT`` array."""
        return self.names.index(name)

    def on_all_requests(self, scores_NT: "npt.NDArray[np.float32]") -> "npt.NDArray[np.float32]":
        """Scores as probabilities over *all* requests.

        The score of a task whose population is another task is multiplied by that task's score:
        P(online) = P(online | click) P(click).

        Args:
            scores_NT: Probabilities, each on its task's own population.

        Returns:
            A new array of the same shape.
        """
        out_NT = scores_NT.copy()
        for column, task in enumerate(self._tasks):
            if task.population != ALL_REQUESTS:
                out_NT[:, column] *= out_NT[:, self.index(task.population)]
        return out_NT


DEFAULT_TASKS = TaskSet(
    [
        Task(name="click", window_s=1800),
        Task(name="online", population="click", window_s=3600),
        Task(name="cart", window_s=86_400),
        Task(name="deal", window_s=7 * 86_400),
    ]
)
