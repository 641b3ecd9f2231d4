"""Stacked scores (Wolpert, Neural Networks 1992): linear models, and boosting that corrects them.

N requests, C columns of ids, T tasks, V held-out rows.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import sparse

from models.nets.embedding import FeatureLayout
from trainer.stacking.boosters import Boosters, LoadedBoosters, fit_boosters
from trainer.stacking.design import Design
from trainer.stacking.linear import Linear, fit_linear
from trainer.stacking.steps import Steps
from trainer.training.objective.funnel import Funnel
from trainer.uncertainty.boosting import MIN_RARER
from trainer.uncertainty.method import Float32Array, Ids

Doubles = npt.NDArray[np.float64]

FOLDS: Final = 4
LEAST_RATE: Final = 1e-4


@dataclass(frozen=True)
class Stacked:
    """Fitted models of the funnel's steps.

    Attributes:
        design: Design matrix of the linear models.
        steps: The steps of the funnel.
        linears: One model per step.
        boosters: What corrects them.
    """

    design: Design
    steps: Steps
    linears: tuple[Linear, ...]
    boosters: Boosters

    def predict(self, ids_NC: Ids) -> Float32Array:
        """Probabilities (N, T), each on its task's own population."""
        matrix = self.design.matrix(ids_NC)
        linear_NT = np.stack([linear.logits(matrix) for linear in self.linears], axis=1)
        return self.corrected(ids_NC, linear_NT.astype(np.float32))

    def corrected(self, ids_NC: Ids, linear_NT: Float32Array) -> Float32Array:
        """Probabilities of requests whose linear log odds are known."""
        logits_NT = np.clip(self._loaded.logits(ids_NC, linear_NT), -40, 40)
        return self.steps.scores((1 / (1 + np.exp(-logits_NT))).astype(np.float32))

    @cached_property
    def _loaded(self) -> LoadedBoosters:
        return self.boosters.loaded()


def fit_stacked(
    layout: FeatureLayout,
    ids_NC: Ids,
    targets_NT: Float32Array,
    counts_N: Doubles,
    *,
    funnel: Funnel,
    held_out: int,
    seed: int,
) -> tuple[Stacked, Float32Array]:
    """Fit linear models and boosters.

    Args:
        layout: Rows of the embedding table by column.
        ids_NC: Feature ids, in order of time.
        targets_NT: Labels; NaN where masked or outside the task's population.
        counts_N: Weight of each row.
        funnel: Order of the tasks.
        held_out: V, the number of rows, the newest, that no booster learns from.
        seed: Seed of everything random.

    Returns:
        The models, and their probabilities (V, T) of the held-out rows by linear models that were
        fitted without them.
    """
    design, steps = Design.of(layout), Steps.of(targets_NT, funnel)
    matrix, wanted_NT = design.matrix(ids_NC), steps.targets(targets_NT)
    fold_N = np.random.default_rng([seed, 0x57]).permutation(len(ids_NC)) % FOLDS
    linears: list[Linear] = []
    honest_NT = np.zeros(targets_NT.shape, np.float32)
    for step, labels_N in enumerate(wanted_NT.T):
        linear = _fitted(matrix, labels_N, counts_N, design)
        for fold in range(FOLDS):
            others_N = np.where(fold_N == fold, np.float32(np.nan), labels_N)
            other = _fitted(matrix, others_N, counts_N, design, linear.penalties_J)
            honest_NT[fold_N == fold, step] = other.logits(matrix[fold_N == fold])
        linears.append(linear)
    learned = len(ids_NC) - held_out
    boosters = fit_boosters(ids_NC, wanted_NT, counts_N, honest_NT, learned=learned, seed=seed)
    stacked = Stacked(design, steps, tuple(linears), boosters)
    return stacked, stacked.corrected(ids_NC[learned:], honest_NT[learned:])


def _fitted(
    matrix: sparse.csr_array,
    labels_N: Float32Array,
    counts_N: Doubles,
    design: Design,
    penalties_J: Doubles | None = None,
) -> Linear:
    """A linear model of the known labels; a constant where they are too few."""
    known_N = ~np.isnan(labels_N)
    labels_K, counts_K = labels_N[known_N].astype(np.float64), counts_N[known_N]
    positives = int(labels_K.sum())
    if min(positives, len(labels_K) - positives) < MIN_RARER:
        rate = np.average(labels_K, weights=counts_K) if len(labels_K) else 0.5
        rate = float(np.clip(rate, LEAST_RATE, 1 - LEAST_RATE))
        none_J = np.ones(int(design.groups_Q.max()) + 1)
        return Linear(np.zeros(matrix.shape[1]), float(np.log(rate / (1 - rate))), none_J)
    return fit_linear(matrix[known_N], labels_K, counts_K, design.groups_Q, penalties_J)
