"""The worlds that experiments run in: rows to learn from, rows without labels, rows to judge on.

A world is one setting of one seed. Four settings ask when uncertainty could help:

- ``base``: training and test rows from one and the same traffic;
- ``drift``: what makes requests worthwhile has turned by the time of the test;
- ``selected``: only what an earlier model's policy let pass was ever labelled;
- ``small``: few training rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from models.nets.embedding import FeatureLayout
from models.tasks import ALL_REQUESTS, TaskSet
from trainer.uncertainty.method import Ids, Rows

Float64Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

SETTINGS: Final = ("base", "drift", "selected", "small")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Requests and what is known about them.

    Attributes:
        ids_NC: Feature ids.
        labels_NT: Whether each event happened, whatever its population; NaN where masked.
        p_true_NT: True probabilities on each task's population; None where nobody knows.
        poor_N: Requests of segments with little data.
    """

    ids_NC: Ids
    labels_NT: npt.NDArray[np.float32]
    p_true_NT: Float64Array | None
    poor_N: Mask

    def __len__(self) -> int:
        return len(self.ids_NC)

    def take(self, rows_K: npt.NDArray[np.int64]) -> "Dataset":
        """The rows with these indices, in this order."""
        return Dataset(
            self.ids_NC[rows_K],
            self.labels_NT[rows_K],
            None if self.p_true_NT is None else self.p_true_NT[rows_K],
            self.poor_N[rows_K],
        )

    def targets(self, tasks: TaskSet) -> npt.NDArray[np.float32]:
        """Labels with the rows outside a task's population masked, shape (N, T)."""
        targets_NT = self.labels_NT.copy()
        for column, task in enumerate(tasks):
            if task.population != ALL_REQUESTS:
                inside_N = self.labels_NT[:, tasks.index(task.population)] == 1
                targets_NT[~inside_N, column] = np.nan
        return targets_NT

    def rows(self, tasks: TaskSet) -> Rows:
        """As the uncertainty methods learn from them."""
        return Rows(self.ids_NC, self.targets(tasks))

    def value(self, tasks: TaskSet, task: str) -> Float64Array:
        """What each request is worth: how likely ``task`` happens, or whether it did.

        True probabilities, where they are known, count events in expectation, without the noise
        of the draw. A masked label is worth nothing.
        """
        column = tasks.index(task)
        if self.p_true_NT is not None:
            over_all_NT = tasks.on_all_requests(self.p_true_NT.astype(np.float32))
            return over_all_NT[:, column].astype(np.float64)
        return np.nan_to_num(self.labels_NT[:, column].astype(np.float64))


def joined(parts: Sequence[Dataset]) -> Dataset:
    """The parts one after another; at least one is needed."""
    truths = [part.p_true_NT for part in parts if part.p_true_NT is not None]
    return Dataset(
        np.concatenate([part.ids_NC for part in parts]),
        np.concatenate([part.labels_NT for part in parts]),
        np.concatenate(truths) if len(truths) == len(parts) else None,
        np.concatenate([part.poor_N for part in parts]),
    )


@dataclass(frozen=True, slots=True)
class World:
    """One setting of one seed.

    Attributes:
        tasks: What is predicted.
        layout: Where the features lie.
        train: Rows to learn from.
        unlabelled_NC: Requests without labels, for the student.
        valid: Rows to choose on.
        test: Rows to judge on.
    """

    tasks: TaskSet
    layout: FeatureLayout
    train: Dataset
    unlabelled_NC: Ids
    valid: Dataset
    test: Dataset


Score = Callable[[Ids], Float64Array]
"""Reward of requests (N, C) -> (N,): by what an earlier model ranked them."""
Fit = Callable[[Dataset], Score]
"""Fits such a model on labelled rows."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Rows of a world.

    Attributes:
        train: Labelled rows.
        small: Labelled rows of the setting ``small``, and of the earlier model of ``selected``.
        unlabelled: Rows for the student only.
        valid: Rows to choose on.
        test: Rows to judge on.
    """

    train: int
    small: int
    unlabelled: int
    valid: int
    test: int


class Source(Protocol):
    """Where worlds come from."""

    name: str
    tasks: TaskSet
    layout: FeatureLayout

    def world(self, setting: str, seed: int, sizes: Sizes, fit: Fit, rate: float) -> World:
        """One world; the same arguments give the same one.

        Args:
            setting: One of :data:`SETTINGS`.
            seed: Worlds of different seeds are independent, as far as the source allows.
            sizes: Rows at most.
            fit: Fits the earlier model of ``selected``.
            rate: Share that its policy intercepted.
        """


def selected(candidates: Dataset, score: Score, rate: float) -> Dataset:
    """The candidates that pass a policy that intercepts ``rate`` of them by score."""
    reward_N = score(candidates.ids_NC)
    kept_K = np.argsort(-reward_N, kind="stable")[: round((1 - rate) * len(candidates))]
    return candidates.take(np.sort(kept_K))


def rare_rows(ids_NC: Ids, train_NC: Ids, rows: int, share: float = 0.1) -> Mask:
    """The ``share`` of requests whose features are the rarest in training.

    Stands for data-poor segments where no column says which they are: mean log count of the ids.
    """
    counts_R = np.bincount(train_NC.ravel(), minlength=rows)
    rarity_N = -np.log1p(counts_R[ids_NC]).mean(axis=1)
    poor_N = np.zeros(len(ids_NC), np.bool_)
    poor_N[np.argsort(-rarity_N, kind="stable")[: round(share * len(ids_NC))]] = True
    return poor_N


def with_rare_rows(world: World) -> World:
    """The same world, with its rarest rows for data-poor segments."""
    train_NC, rows = world.train.ids_NC, world.layout.rows

    def marked(part: Dataset) -> Dataset:
        return replace(part, poor_N=rare_rows(part.ids_NC, train_NC, rows))

    return replace(world, valid=marked(world.valid), test=marked(world.test))
