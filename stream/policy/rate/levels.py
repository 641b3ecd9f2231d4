"""Levels of debt, and which share of the values is to pass at each of them.

What each level aims at follows from the target alone, and gates with the same target share it.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T", bound=np.generic)

HIGHEST: Final = float(np.finfo(np.float32).max)
"""Threshold that nothing reaches, for a gate that must not pass more."""
LOWEST: Final = -HIGHEST
"""Threshold that everything reaches; NaN ranks here, below every number."""
STEPS: Final = 4
"""Levels per pass owed."""
EDGE: Final = 30.0
"""Passes before the bound within which a debt is leant against; up to there it may stand."""
ONE: Final = 1 << 32
"""Shares are counted in parts of this."""

_BELOW_HIGHEST: Final = np.nextafter(np.float32(HIGHEST), np.float32(0))


def rankable(values_N: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
    """Values as float32 that compare soundly: NaN below every number, infinities at the ends."""
    with np.errstate(over="ignore"):
        values_N = np.asarray(values_N, np.float32)
    ranked_N: npt.NDArray[np.float32] = np.fmax(values_N, np.float32(LOWEST))
    return np.minimum(ranked_N, _BELOW_HIGHEST, out=ranked_N)


@dataclass(frozen=True, slots=True)
class Levels:
    """What each level of debt aims at, from -B on in steps of 1/4; arrays are shared, not written.

    Attributes:
        below_L: Share of the values that do not pass.
        never_L: Whether nothing passes.
        always_L: Whether everything does.
        middle: The first level of those between the edges, which all aim at the same.
        alike: How many these are, 1 where B <= 30.
    """

    below_L: npt.NDArray[np.float64]
    never_L: npt.NDArray[np.bool_]
    always_L: npt.NDArray[np.bool_]
    middle: int
    alike: int

    def distinct(self, values_L: npt.NDArray[T]) -> npt.NDArray[T]:
        """Values by level, with one for all levels that are alike."""
        if self.alike == 1:
            return values_L
        rest_L = values_L[self.middle + self.alike :]
        return np.concatenate([values_L[: self.middle + 1], rest_L])


@lru_cache(maxsize=256)
def plan_levels(share: float, ranked: float, bound: float, *, everything: bool) -> Levels:
    """The formula of :mod:`stream.policy.rate.gate`.

    Args:
        share: q, the share that passes.
        ranked: The part of it that passes by value.
        bound: B.
        everything: Whether all values pass whatever is owed.
    """
    owed_L = np.arange(-bound, bound + 2.0, 1.0 / STEPS)
    edge = min(bound, EDGE)
    per_pass = math.pi / (2.0 * edge + 1.0)
    beyond_L = np.clip(np.abs(owed_L), bound - edge, bound) - (bound - edge)
    angle_L = np.sign(owed_L) * beyond_L * per_pass
    share_L = ranked + share * (1.0 - share) * per_pass * np.tan(angle_L)
    middle_L = np.flatnonzero(np.abs(owed_L) <= bound - edge)
    return Levels(
        1.0 - np.clip(share_L, 0.0, 1.0),
        (owed_L <= -bound) | (share <= 0.0),
        (owed_L >= bound) | everything,
        *((int(middle_L[0]), len(middle_L)) if len(middle_L) else (0, 1)),
    )
