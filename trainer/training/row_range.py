"""Consecutive rows of a training, and what is known of their labels by now.

K rows of a range, C columns of ids, T tasks.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from models.data.examples import Examples, population_targets
from models.tasks import ALL_REQUESTS, TaskSet
from trainer.training.delay.maturity import final_labels, seen_events


@dataclass(frozen=True, slots=True)
class OpenLabels:
    """What is known of labels by now, final or not.

    Attributes:
        seen_KT: 1 where the event happened by now, 0 where it did not, float32; NaN where masked,
            where the row is outside the task's population, or where that is not final yet.
        elapsed_K: Age of the rows, int64 ms.
        delays_KT: Time from the request to the event, float64 ms; NaN without an event.
        closing_T: Age from which labels are final, int64 ms.
    """

    seen_KT: Tensor
    elapsed_K: Tensor
    delays_KT: Tensor
    closing_T: Tensor

    def slice(self, span: slice) -> "OpenLabels":
        """The rows of the span."""
        return OpenLabels(
            self.seen_KT[span], self.elapsed_K[span], self.delays_KT[span], self.closing_T
        )


@dataclass(frozen=True, slots=True)
class RowRange:
    """Consecutive rows, mapped from the disk.

    Attributes:
        ids_KC: Feature ids, int16 where all ids of the spec fit, else int32.
        labels_KT: Whether the events happened, float32; NaN where masked or not final yet.
        targets_KT: Labels with every row outside a task's population masked as well.
        weights_K: Number of requests that each row represents, float32.
        opened: What is known of labels that are not final; None if all are.
    """

    ids_KC: Tensor
    labels_KT: Tensor
    targets_KT: Tensor
    weights_K: Tensor
    opened: OpenLabels | None = None

    def __len__(self) -> int:
        return len(self.ids_KC)

    def slice(self, start: int, stop: int) -> "RowRange":
        """Rows ``start`` to ``stop - 1``."""
        span = slice(start, stop)
        return RowRange(
            self.ids_KC[span],
            self.labels_KT[span],
            self.targets_KT[span],
            self.weights_K[span],
            None if self.opened is None else self.opened.slice(span),
        )


def range_of(examples: Examples, closing_T: npt.NDArray[np.int64], tasks: TaskSet) -> RowRange:
    """Examples in memory as a range.

    Args:
        examples: The rows.
        closing_T: Age from which the labels of each task are final, ms.
        tasks: The tasks.
    """
    labels_KT = final_labels(examples, closing_T)
    seen_KT = seen_events(examples, closing_T)
    for column, task in enumerate(tasks):
        if task.population != ALL_REQUESTS:
            # Whether a row belongs to the population is known once that label is final.
            inside_K = labels_KT[:, tasks.index(task.population)] == 1
            seen_KT[~inside_K, column] = np.nan
    opened = OpenLabels(
        *map(torch.from_numpy, (seen_KT, examples.elapsed, examples.delays, closing_T))
    )
    return RowRange(
        torch.from_numpy(examples.features_NC),
        torch.from_numpy(labels_KT),
        torch.from_numpy(population_targets(labels_KT, tasks)),
        torch.from_numpy(examples.weights),
        opened,
    )
