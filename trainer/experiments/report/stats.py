"""Means over seeds, their intervals, and paired tests.

A seed determines a world and everything random in training, so seeds are independent. Methods are
compared under the same seeds: differences are taken within a seed before they are averaged.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import stats

CONFIDENCE = 0.95


class Estimate(BaseModel):
    """A mean over seeds with its 95 % interval (Student's t).

    Attributes:
        mean: Mean over the seeds.
        low: Lower end of the interval; None if there is only one seed.
        high: Upper end.
        p_value: p-value of the two-sided t test of a mean of 0.
        values: Value of every seed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mean: float
    low: float | None
    high: float | None
    p_value: float | None
    values: dict[int, float]

    @property
    def half(self) -> float:
        """Half the interval's width; NaN without an interval."""
        return math.nan if self.high is None else self.high - self.mean


class Curve(BaseModel):
    """Means and intervals over seeds along ``x``, which all seeds share."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    x: list[float]
    mean: list[float]
    low: list[float | None]
    high: list[float | None]


def estimate(values: Mapping[int, float]) -> Estimate:
    """Mean and interval over the seeds with a finite value.

    Raises:
        ValueError: If no value is a number.
    """
    known = {seed: value for seed, value in sorted(values.items()) if math.isfinite(value)}
    if not known:
        raise ValueError("no seed has a value")
    values_S = np.array(list(known.values()))
    mean = float(values_S.mean())
    if len(values_S) < 2:
        return Estimate(mean=mean, low=None, high=None, p_value=None, values=known)
    error = float(values_S.std(ddof=1) / math.sqrt(len(values_S)))
    freedom = len(values_S) - 1
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom)) * error
    p_value = float(2 * stats.t.sf(abs(mean) / error, freedom)) if error else None
    return Estimate(mean=mean, low=mean - half, high=mean + half, p_value=p_value, values=known)


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> Estimate:
    """Estimate of ``a`` minus ``b`` over the seeds that have both.

    Raises:
        ValueError: If no seed has both.
    """
    return estimate({seed: a[seed] - b[seed] for seed in a.keys() & b.keys()})


def curve(x: Sequence[float], values: Mapping[int, Sequence[float]]) -> Curve:
    """Means and intervals point by point; points without a finite value are left out."""
    found = {
        at: [row[index] for row in values.values()]
        for index, at in enumerate(x)
        if any(math.isfinite(row[index]) for row in values.values())
    }
    points = [estimate(dict(enumerate(column))) for column in found.values()]
    return Curve(
        x=list(found),
        mean=[point.mean for point in points],
        low=[point.low for point in points],
        high=[point.high for point in points],
    )
