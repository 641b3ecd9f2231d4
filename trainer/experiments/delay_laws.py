"""Families of delay laws: how long after a request its events come.

Every step of the funnel follows the one before it after a delay of its own, so a task's delay is a
sum. Which law an exchange has is unknown; a method that is right for one only is not right.

N requests, T tasks, times in hours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

Float64Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Ids = npt.NDArray[np.int32]
Law = Callable[[np.random.Generator, Float64Array], Float64Array]
"""Draws the steps' delays (N, T) for requests with these values of a hidden covariate (N,)."""

MEAN_H: Final = (30 / 3600, 0.05, 4.0, 36.0)
MEDIAN_H: Final = (15 / 3600, 1 / 60, 2 / 3, 12.0)
SIGMA: Final = (1.3, 1.0, 1.4, 1.6)
FAST_H: Final = (15 / 3600, 1 / 60, 1 / 3, 3.0)
SLOW_H: Final = (60 / 3600, 1 / 15, 8.0, 72.0)
SPREAD: Final = 1.5
COLUMNS: Final = 4
"""Columns of ids on which the covariate depends."""
MODERATE: Final = (3, 60)
"""Fewest and most distinct ids of such a column."""


def _exponential(rng: np.random.Generator, covariate_N: Float64Array) -> Float64Array:
    return np.asarray(rng.exponential(1.0, (len(covariate_N), len(MEAN_H))) * np.array(MEAN_H))


def _lognormal(rng: np.random.Generator, covariate_N: Float64Array) -> Float64Array:
    return rng.lognormal(np.log(MEDIAN_H), SIGMA, (len(covariate_N), len(MEDIAN_H)))


def _bimodal(rng: np.random.Generator, covariate_N: Float64Array) -> Float64Array:
    slow_N1 = rng.random(len(covariate_N))[:, None] < 1 / (1 + np.exp(-covariate_N[:, None]))
    mean_NT = np.where(slow_N1, np.array(SLOW_H), np.array(FAST_H))
    return np.asarray(rng.exponential(1.0, mean_NT.shape) * mean_NT)


LAWS: Final[dict[str, Law]] = {
    "exponential": _exponential,
    "lognormal": _lognormal,
    "bimodal": _bimodal,
}
"""``exponential``: deals after 40 hours in the mean. ``lognormal``: half of them within 13 hours,
4 % after more than a week. ``bimodal``: fast or slow ones, by a probability that depends on the
features and goes from a tenth to nine tenths."""


@dataclass(frozen=True, slots=True)
class Covariate:
    """A hidden covariate of mean 0 that depends on a few features.

    Attributes:
        columns: The columns of ids that it depends on.
        effect_R: Effect of every id.
        centre: Mean of the effects.
    """

    columns: Ints
    effect_R: Float64Array
    centre: float

    @classmethod
    def drawn(cls, ids_NC: Ids, rows: int, seed: int) -> Self:
        """Draw the covariate; on these requests it has standard deviation ``SPREAD``."""
        rng = np.random.default_rng([seed, 31])
        least, most = MODERATE
        fit = [c for c in range(ids_NC.shape[1]) if least <= len(np.unique(ids_NC[:, c])) <= most]
        columns = rng.choice(fit, min(COLUMNS, len(fit)), replace=False)
        effect_R = rng.normal(0.0, 1.0, rows)
        effect_R *= SPREAD / max(float(effect_R[ids_NC[:, columns]].sum(axis=1).std()), 1e-9)
        return cls(columns, effect_R, float(effect_R[ids_NC[:, columns]].sum(axis=1).mean()))

    def __call__(self, ids_NC: Ids) -> Float64Array:
        """The covariate of requests, (N,)."""
        return np.asarray(self.effect_R[ids_NC[:, self.columns]].sum(axis=1) - self.centre)


def draw_delays(law: str, rng: np.random.Generator, covariate_N: Float64Array) -> Float64Array:
    """Delays from the request to the event of each task, in ms, (N, T)."""
    return np.cumsum(LAWS[law](rng, covariate_N), axis=1) * 3_600_000.0


def share_within(
    law: str, seed: int, covariate_N: Float64Array, windows_T: Float64Array, draws: int = 64
) -> Float64Array:
    """Share of the events of each request that come within their windows (ms), by draws, (N, T)."""
    rng = np.random.default_rng([seed, 37])
    within_NT = np.zeros((len(covariate_N), len(windows_T)))
    for _ in range(draws):
        within_NT += draw_delays(law, rng, covariate_N) <= windows_T
    return within_NT / draws
