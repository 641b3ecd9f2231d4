"""The table by which a gate decides: a threshold for each level of debt."""

from collections.abc import Iterable
from functools import cached_property, partial
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.policy.rate.levels import HIGHEST, LOWEST, ONE, STEPS, Levels

_GOLDEN: Final = 2_654_435_769


class ThresholdTable:
    """Thresholds by level of debt, and the share of the values equal to them that passes.

    Equal values pass in the proportion that their rank requires, spread evenly over the stream by
    a golden-ratio sequence of positions.

    Args:
        levels: The share of the values that passes at each level.
        values_M: Rankable values, rising, that thresholds are quantiles of.
    """

    def __init__(self, levels: Levels, values_M: npt.NDArray[np.float32]) -> None:
        below_K, count = levels.distinct(levels.below_L), len(values_M)
        if count:
            rank_K = (below_K * count).astype(np.intp)
            thresholds_K = values_M[np.minimum(rank_K, count - 1)]
            np.minimum(thresholds_K, np.float32(HIGHEST), out=thresholds_K)
        else:
            thresholds_K = np.where(below_K > 0.5, np.float32(HIGHEST), np.float32(LOWEST))
        thresholds_K[levels.distinct(levels.never_L)] = HIGHEST
        thresholds_K[levels.distinct(levels.always_L)] = LOWEST
        self.thresholds_L, self.thresholds = _by_level(levels, thresholds_K)
        self._tie_shares_L = partial(_tie_shares, levels, values_M, self.thresholds_L)

    @cached_property
    def tie_shares_L(self) -> npt.NDArray[np.uint64]:
        """Share of the values equal to each threshold that passes, in units of 1 / ``ONE``."""
        return self._tie_shares_L()

    @cached_property
    def tie_shares(self) -> list[int]:
        """The same as a list."""
        shares: list[int] = self.tie_shares_L.tolist()
        return shares

    def walk(
        self,
        values_N: npt.NDArray[np.float32],
        rise_N: npt.NDArray[np.float64],
        start: float,
        top: float,
        position: int,
        passed_N: npt.NDArray[np.bool_],
    ) -> tuple[npt.NDArray[np.intp], float]:
        """Decide a stretch of values into ``passed_N``: the loop per request.

        The row of a value is the level of debt with this value's share added. It only rises until
        a pass, so values below the least threshold that the stretch can reach are blocked without
        a comparison each.

        Args:
            values_N: Values as ``rankable`` makes them; +inf passes without comparison.
            rise_N: Rise of the level at each value since the start of the stretch.
            start: The level before the stretch.
            top: The highest level; a rise beyond it is lost.
            position: Position of the first value in the stream.
            passed_N: Filled with whether each passes.

        Returns:
            Each value's row, and the level after the stretch.
        """
        thresholds = self.thresholds
        level, end = start, float(rise_N[-1])
        indices: Iterable[int] = range(len(values_N))
        near_N, near_rise_N = values_N, rise_N
        if (
            0.0 <= start + end <= min(top, len(thresholds) - 1)
            and thresholds[int(start + end)] > LOWEST
        ):
            near_K = np.flatnonzero(values_N >= self.thresholds_L[int(start + end)])
            indices, near_N, near_rise_N = near_K.tolist(), values_N[near_K], rise_N[near_K]
        verdicts = bytearray(len(values_N))
        losses: list[tuple[int, float]] = []
        for index, value, rise in zip(indices, near_N.tolist(), near_rise_N.tolist(), strict=True):
            now = level + rise
            if now > top:
                losses.append((index, now - top))
                level -= now - top
                now = top
            row = int(now) if now > 0.0 else 0
            threshold = thresholds[row]
            if value > threshold or (
                value == threshold and (position + index) * _GOLDEN % ONE < self.tie_shares[row]
            ):
                verdicts[index] = 1
                level -= STEPS
        passed_N[:] = np.frombuffer(verdicts, np.bool_)
        rows_N = start + rise_N - STEPS * (np.cumsum(passed_N) - passed_N)
        for index, lost in losses:
            rows_N[index:] -= lost
        return np.maximum(rows_N, 0.0).astype(np.intp), level + end

    def passes_by_value(
        self,
        values_N: npt.NDArray[np.float32],
        rows_N: npt.NDArray[np.intp],
        position: int,
    ) -> npt.NDArray[np.bool_]:
        """Whether each value passes without a grant at its row of a :meth:`walk`."""
        positions_N = np.arange(position, position + len(values_N), dtype=np.uint64)
        ticket_N = (positions_N * np.uint64(_GOLDEN)) % np.uint64(ONE)
        threshold_N = self.thresholds_L[rows_N]
        tied_N = (values_N == threshold_N) & (ticket_N < self.tie_shares_L[rows_N])
        chosen_N: npt.NDArray[np.bool_] = (values_N > threshold_N) | tied_N
        return chosen_N


def _by_level(
    levels: Levels, thresholds_K: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.float32], list[float]]:
    """Thresholds of all levels, as an array and as a list, from those of the distinct levels."""
    thresholds: list[float] = thresholds_K.tolist()
    if levels.alike == 1:
        return thresholds_K, thresholds
    middle, alike = levels.middle, levels.alike
    between_L = np.repeat(thresholds_K[middle], alike)
    thresholds[middle : middle + 1] = [thresholds[middle]] * alike
    return np.concatenate(
        [thresholds_K[:middle], between_L, thresholds_K[middle + 1 :]]
    ), thresholds


def _tie_shares(
    levels: Levels, values_M: npt.NDArray[np.float32], thresholds_L: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint64]:
    """Share of the values equal to each threshold that ranks high enough to pass."""
    count = len(values_M)
    first_L = values_M.searchsorted(thresholds_L, "left")
    after_L = values_M.searchsorted(thresholds_L, "right")
    equal_L = np.maximum(after_L - first_L, 1)
    shares_L = np.clip((after_L - levels.below_L * count) / equal_L, 0.0, 1.0)
    shares_L[levels.always_L] = 1.0
    units_L: npt.NDArray[np.uint64] = (shares_L * ONE).astype(np.uint64)
    return units_L
