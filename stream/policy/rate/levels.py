"""Levels of debt, and the share of the values that passes at each of them.

The shares follow from the target alone; gates with the same target use the same ones.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T", bound=np.generic)

HIGHEST: Final = float(np.finfo(np.float32).max)
"""Threshold that nothing reaches, for a gate at the lower bound of its debt."""
LOWEST: Final = -HIGHEST
"""Threshold that everything reaches; NaN ranks here, below every number."""
STEPS: Final = 4
"""Levels per pass of debt."""
EDGE: Final = 30.0
"""A debt is corrected within this distance of its bound, in passes; up to there it may stand."""
ONE: Final = 1 << 32
"""Shares are multiples of 1 / ``ONE``."""

_BELOW_HIGHEST: Final = np.nextafter(np.float32(HIGHEST), np.float32(0))


def rankable(values_N: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Values as totally ordered, finite float32: NaN below every number, infinities at the ends."""
    with np.errstate(over="ignore"):
        values_N = np.asarray(values_N, np.float32)
    ranked_N: npt.NDArray[np.float32] = np.fmax(values_N, np.float32(LOWEST))
    return np.minimum(ranked_N, _BELOW_HIGHEST, out=ranked_N)


@dataclass(frozen=True, slots=True)
class Levels:
    """The share of each level of debt, from -B on in steps of 1/4; arrays are shared and read-only.

    Attributes:
        below_L: Share of the values that do not pass.
        never_L: Whether nothing passes.
        always_L: Whether everything passes.
        middle: The first level of those without a correction, which have the same share.
        alike: Number of these levels; 1 where B <= 30.
    """

    below_L: npt.NDArray[np.float64]
    never_L: npt.NDArray[np.bool_]
    always_L: npt.NDArray[np.bool_]
    middle: int
    alike: int

    def distinct(self, values_L: npt.NDArray[T]) -> npt.NDArray[T]:
        """Values by level, with a single one for all levels without a correction."""
        if self.alike == 1:
            return values_L
        rest_L = values_L[self.middle + self.alike :]
        return np.concatenate([values_L[: self.middle + 1], rest_L])


@lru_cache(maxsize=256)
def plan_levels(share: float, ranked: float, bound: float, *, everything: bool) -> Levels:
    """Evaluate the formula of :mod:`stream.policy.rate.gate` at every level.

    Args:
        share: q, the share that passes.
        ranked: Share of the values not granted a pass that passes by value.
        bound: B.
        everything: Whether all values pass whatever the debt is.
    """
    debt_L = np.arange(-bound, bound + 2.0, 1.0 / STEPS)
    edge = min(bound, EDGE)
    per_pass = math.pi / (2.0 * edge + 1.0)
    beyond_L = np.clip(np.abs(debt_L), bound - edge, bound) - (bound - edge)
    angle_L = np.sign(debt_L) * beyond_L * per_pass
    share_L = ranked + share * (1.0 - share) * per_pass * np.tan(angle_L)
    middle_L = np.flatnonzero(np.abs(debt_L) <= bound - edge)
    return Levels(
        1.0 - np.clip(share_L, 0.0, 1.0),
        (debt_L <= -bound) | (share <= 0.0),
        (debt_L >= bound) | everything,
        *((int(middle_L[0]), len(middle_L)) if len(middle_L) else (0, 1)),
    )
