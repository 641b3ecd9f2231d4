"""The worlds of the experiments: training, unlabelled, validation and test rows.

A world is one setting under one seed. Four settings show when uncertainty could help:

- ``base``: training and test rows from the same traffic;
- ``drift``: the effects on the labels have drifted by the time of the test rows;
- ``selected``: only requests that an earlier model's policy passed have labels;
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
    """Requests with their features and labels.

    Attributes:
        ids_NC: Feature ids.
        labels_NT: Whether each event happened, whatever its population; NaN where masked.
        p_true_NT: True probabilities on each task's population; None if they are unknown.
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
        """Ids and targets in the form that the uncertainty methods take."""
        return Rows(self.ids_NC, self.targets(tasks))

    def value(self, tasks: TaskSet, task: str) -> Float64Array:
        """Value of each request: the probability of ``task``, or whether its event happened.

        True probabilities are used where they are known, because they count events in expectation,
        without sampling noise. The value of a masked label is 0.
        """
        column = tasks.index(task)
        if self.p_true_NT is not None:
            over_all_NT = tasks.on_all_requests(self.p_true_NT.astype(np.float32))
            return over_all_NT[:, column].astype(np.float64)
        return np.nan_to_num(self.labels_NT[:, column].astype(np.float64))


def joined(parts: Sequence[Dataset]) -> Dataset:
    """Concatenate the parts; at least one is needed."""
    truths = [part.p_true_NT for part in parts if part.p_true_NT is not None]
    return Dataset(
        np.concatenate([part.ids_NC for part in parts]),
        np.concatenate([part.labels_NT for part in parts]),
        np.concatenate(truths) if len(truths) == len(parts) else None,
        np.concatenate([part.poor_N for part in parts]),
    )


@dataclass(frozen=True, slots=True)
class World:
    """Data of one setting under one seed.

    Attributes:
        tasks: Tasks to predict.
        layout: Rows of the embedding table by column.
        train: Training rows.
        unlabelled_NC: Requests without labels, for the student.
        valid: Validation rows.
        test: Test rows.
    """

    tasks: TaskSet
    layout: FeatureLayout
    train: Dataset
    unlabelled_NC: Ids
    valid: Dataset
    test: Dataset


Score = Callable[[Ids], Float64Array]
"""Reward of requests, (N, C) -> (N,), by which an earlier model ranked them."""
Fit = Callable[[Dataset], Score]
"""Fits an earlier model on labelled rows and returns its score function."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Numbers of rows of a world.

    Attributes:
        train: Labelled rows.
        small: Labelled rows of the setting ``small``, and of the earlier model of ``selected``.
        unlabelled: Rows for the student only.
        valid: Validation rows.
        test: Test rows.
    """

    train: int
    small: int
    unlabelled: int
    valid: int
    test: int


class Source(Protocol):
    """Data from which worlds are made."""

    name: str
    tasks: TaskSet
    layout: FeatureLayout

    def world(self, setting: str, seed: int, sizes: Sizes, fit: Fit, rate: float) -> World:
        """Make a world; the same arguments give the same world.

        Args:
            setting: One of :data:`SETTINGS`.
            seed: Worlds of different seeds are independent, as far as the source allows.
            sizes: Greatest numbers of rows.
            fit: Fits the earlier model of ``selected``.
            rate: Share of requests that its policy intercepted.
        """


def selected(candidates: Dataset, score: Score, rate: float) -> Dataset:
    """The candidates that pass under a policy that intercepts ``rate`` of them by score."""
    reward_N = score(candidates.ids_NC)
    kept_K = np.argsort(-reward_N, kind="stable")[: round((1 - rate) * len(candidates))]
    return candidates.take(np.sort(kept_K))


def rare_rows(ids_NC: Ids, train_NC: Ids, rows: int, share: float = 0.1) -> Mask:
    """The ``share`` of requests with the rarest features in training, by mean log count of the ids.

    They stand for data-poor segments if no column names those.
    """
    counts_R = np.bincount(train_NC.ravel(), minlength=rows)
    rarity_N = -np.log1p(counts_R[ids_NC]).mean(axis=1)
    poor_N = np.zeros(len(ids_NC), np.bool_)
    poor_N[np.argsort(-rarity_N, kind="stable")[: round(share * len(ids_NC))]] = True
    return poor_N


def with_rare_rows(world: World) -> World:
    """The same world, with its rarest rows as data-poor segments."""
    train_NC, rows = world.train.ids_NC, world.layout.rows

    def marked(part: Dataset) -> Dataset:
        return replace(part, poor_N=rare_rows(part.ids_NC, train_NC, rows))

    return replace(world, valid=marked(world.valid), test=marked(world.test))
