"""Boosting on top of linear models: what ids and linear log odds say together.

One booster per step of the funnel sees the ids and the linear log odds of all steps, so that it
can find where a linear model is too sure (an interaction of everything with one feature) as easily
as an interaction of two features. It starts from the base rate, or from the linear log odds, which
it then corrects: the former learns more from many rows, the latter keeps what is known where rows
are few. Held-out rows choose. All log odds that it learns from are those of models that were fitted
without the row: otherwise it learns how far they overfit.

N requests, C columns of ids, T steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import lightgbm as lgb
import numpy as np
import numpy.typing as npt

from trainer.uncertainty.boosting import ENGINE, MIN_RARER
from trainer.uncertainty.method import Float32Array, Ids

Doubles = npt.NDArray[np.float64]

MAX_ROUNDS: Final = 2000
PATIENCE: Final = 100
PARAMETERS: Final[dict[str, Any]] = ENGINE | {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 8,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.5,
    "lambda_l2": 20.0,
}


@dataclass(frozen=True, slots=True)
class Boosters:
    """Fitted boosters.

    Attributes:
        models: For each step the text of its booster; "" where the labels were too few.
        starts: The log odds that each starts from; None for the linear ones.
        lowest_C: Lowest id of every column, subtracted from its ids.
    """

    models: tuple[str, ...]
    starts: tuple[float | None, ...]
    lowest_C: Ids

    def loaded(self) -> "LoadedBoosters":
        """The boosters, ready to predict."""
        loaded = [lgb.Booster(model_str=text) if text else None for text in self.models]
        return LoadedBoosters(loaded, self.starts, self.lowest_C)


class LoadedBoosters:
    """Boosters that are ready to predict; arguments as of `Boosters`."""

    def __init__(
        self,
        boosters: Sequence[lgb.Booster | None],
        starts: Sequence[float | None],
        lowest_C: Ids,
    ) -> None:
        self._boosters, self._starts, self._lowest_C = boosters, starts, lowest_C

    def logits(self, ids_NC: Ids, linear_NT: Float32Array) -> Doubles:
        """Log odds of the steps, (N, T), given the linear ones."""
        features = _features(ids_NC, linear_NT, self._lowest_C)
        logits_NT = linear_NT.astype(np.float64)
        for step, (booster, start) in enumerate(zip(self._boosters, self._starts, strict=True)):
            if start is not None:
                logits_NT[:, step] = start
            if booster is not None:
                logits_NT[:, step] += booster.predict(features, raw_score=True, num_threads=1)
        return logits_NT


def fit_boosters(
    ids_NC: Ids,
    targets_NT: Float32Array,
    counts_N: Doubles,
    linear_NT: Float32Array,
    *,
    learned: int,
    seed: int,
) -> Boosters:
    """Fit a booster per step on the first rows, with early stopping on the others.

    Args:
        ids_NC: Feature ids, in order of time.
        targets_NT: Labels of the steps; NaN where unknown or not reached.
        counts_N: Weight of each row.
        linear_NT: Log odds by linear models that were fitted without the row.
        learned: Number of rows to learn from.
        seed: Seed of everything random.
    """
    lowest_C = ids_NC.min(axis=0)
    features = _features(ids_NC, linear_NT, lowest_C)
    early_N = np.arange(len(ids_NC)) < learned
    found: list[tuple[str, float | None]] = []
    for step, labels_N in enumerate(targets_NT.T):
        known_N = ~np.isnan(labels_N)
        parts = [np.flatnonzero(known_N & early_N), np.flatnonzero(known_N & ~early_N)]
        if min(_rarer(labels_N[rows_K]) for rows_K in parts) < MIN_RARER:
            found.append(("", None))
            continue
        rate = float(np.average(labels_N[parts[0]], weights=counts_N[parts[0]]))
        fits = []
        for start in (float(np.log(rate / (1 - rate))), None):
            starts_N = linear_NT[:, step] if start is None else np.full(len(labels_N), start)
            early, late = (
                lgb.Dataset(
                    features[rows_K],
                    labels_N[rows_K],
                    weight=counts_N[rows_K],
                    init_score=starts_N[rows_K],
                )
                for rows_K in parts
            )
            fits.append((*_fitted(early, late, seed), start))
        _, text, start = min(fits, key=lambda fit: fit[0])
        found.append((text, start))
    models, starts = zip(*found, strict=True)
    return Boosters(models, starts, lowest_C)


def _fitted(learned: lgb.Dataset, held: lgb.Dataset, seed: int) -> tuple[float, str]:
    """Loss on the held-out rows, and text of a booster."""
    booster = lgb.train(
        PARAMETERS | {"seed": seed % 2**31},
        learned,
        MAX_ROUNDS,
        valid_sets=[held],
        callbacks=[lgb.early_stopping(PATIENCE, verbose=False)],
    )
    return booster.best_score["valid_0"]["binary_logloss"], booster.model_to_string()


def _features(ids_NC: Ids, linear_NT: Float32Array, lowest_C: Ids) -> Float32Array:
    return np.concatenate([(ids_NC - lowest_C).astype(np.float32), linear_NT], axis=1)


def _rarer(labels_K: Float32Array) -> int:
    """Number of rows of the rarer class."""
    positives = int(labels_K.sum())
    return min(positives, len(labels_K) - positives)
