"""One gate: lets a given share of a stream through, the highest values of it, in every stretch.

The gate has a *debt*: the passes owed so far less the passes given. The wanted share of passes is
the target plus a correction by the debt, and the threshold is that quantile of a sliding window:

    share(D) = q + q (1 - q) (pi / 2E) tan(pi d / 2E),        |D| <= B,   E = min(B, 30),

where d is the part of D within E of the bound: D itself while B <= 30. This correction is the
cheapest one, to second order in lost value, that keeps the debt's diffusion (variance q (1 - q)
per request) inside +-E: the drift of a Brownian motion conditioned to stay in an interval (Doob's
transform by the ground state cos(pi d / 2E)). With more slack a debt may stand: paying it back
costs reward, and gains nothing until the bound is near. At the bound everything passes, or nothing,
so the error over any W requests is at most (2 B + 1) / W.

Thresholds are refreshed at fixed positions of the stream, never per call, and the debt is exact
(the share is a multiple of 2^-32): decisions do not depend on how the stream is split into calls.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.policy.rate.levels import ONE, STEPS, plan_levels
from stream.policy.rate.threshold_table import ThresholdTable
from stream.policy.rate.window import SlidingWindow

REFRESH: Final = 128
"""Requests between two refreshes of the threshold; at the start 1, 2, 4, ... up to this."""
SPAN: Final = 10_000
"""Consecutive requests over which the achieved share is measured."""
RARE: Final = 0.029
"""Where passes (or blocks, the rarer) are rarer than this share, the slack shrinks with them: at
r = 0.99 a slack of 13 becomes 4.5, which is 4.5 % of the passes owed in a span."""
_ALWAYS: Final = np.float32(np.inf)
_COUNT: Final = np.arange(REFRESH + 1, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Admission:
    """Decisions of a gate about N values; arrays of shape (N,).

    Attributes:
        passed_N: Whether each passes, by its value or because it was granted.
        chosen_N: Whether it passes by its value.
        threshold_N: The value that was needed, float32; of equal values some pass.
    """

    passed_N: npt.NDArray[np.bool_]
    chosen_N: npt.NDArray[np.bool_]
    threshold_N: npt.NDArray[np.float32]


class ShareGate:
    """Lets ``share`` of a stream through, the highest values first.

    Memory: the window and its values once more in order, a table of at most 8 ``slack`` + 8
    thresholds, and SPAN / REFRESH counts.

    Args:
        share: q, the share of all values that pass, in [0, 1]; 0 and 1 are exact.
        slack: B, the bound of the debt, in passes either way (see ``RARE``).
        window: The window that thresholds are quantiles of.
        granted: Share of the values that are granted a pass whatever their rank.
    """

    def __init__(
        self, share: float, slack: float, window: SlidingWindow, granted: float = 0.0
    ) -> None:
        self._window = window
        self._seen = 0
        self._shares_sum, self._shares_count = 0.0, 0
        self._passed = 0
        self._debt = 0.0
        self._next_refresh = 1
        self._checkpoints: list[tuple[int, int]] = [(0, 0)]
        self.retarget(share, slack, granted)

    @property
    def share(self) -> float:
        """The share of the stream that passes."""
        return self._share

    @property
    def debt(self) -> float:
        """Passes owed less passes given, |debt| <= slack + 1/2 unless grants exceeded the share."""
        return self._debt

    @property
    def achieved(self) -> float:
        """Share that passed of the last SPAN values (fewer at the start; NaN before any)."""
        seen, passed = self._checkpoints[0]
        if self._seen == seen:
            return math.nan
        return (self._passed - passed) / (self._seen - seen)

    @property
    def threshold(self) -> float:
        """The value that is needed without debt; NaN before the first value."""
        return self._table.thresholds[round(self._bound * STEPS)] if self._seen else math.nan

    def retarget(
        self, share: float, slack: float, granted: float = 0.0, *, varying: bool = False
    ) -> None:
        """Let another share through from the next value on; the debt stays, within its new bound.

        Args:
            share: q from now on; if it varies, the share to start with.
            slack: B, the bound of the debt, in passes either way.
            granted: Share of the values that are granted a pass whatever their rank; if the share
                varies, the fraction of that share.
            varying: Whether :meth:`admit` gets the passes that each value adds to the debt.
        """
        self._varying = varying
        self._granted = granted
        self._share = round(share * ONE) / ONE
        rarer = RARE if varying else min(self._share, 1.0 - self._share)
        self._bound = math.ceil(max(1.0, slack * min(1.0, rarer / RARE)) * STEPS) / STEPS
        self._debt = min(max(self._debt, -self._bound), self._bound)
        self._replan()
        self._refresh()

    def start_at_bound(self) -> None:
        """Start with the greatest debt, so that everything passes at first."""
        self._debt = self._bound + 0.5

    def seed(self, values_M: npt.NDArray[np.float32], time: int) -> None:
        """Start with the values of another worker's window instead of an empty one.

        Args:
            values_M: Rankable values, in an order in which any stretch of them is representative.
            time: The stream's time that they are given, in milliseconds.
        """
        self._window.append(values_M, np.full(len(values_M), time, np.int64))
        self._refresh()

    def sample(self, count: int) -> npt.NDArray[np.float32]:
        """At most ``count`` evenly spaced quantiles of the window, rising; none if it is empty."""
        values_M = np.sort(self._window.values())
        if len(values_M) <= count:
            return values_M
        return values_M[((np.arange(count) + 0.5) / count * len(values_M)).astype(np.intp)]

    def admit(
        self,
        values_N: npt.NDArray[np.float32],
        times_N: npt.NDArray[np.int64],
        granted_N: npt.NDArray[np.bool_] | None = None,
        shares_N: npt.NDArray[np.float64] | None = None,
    ) -> Admission:
        """Decide the next N values of the stream, in order.

        Args:
            values_N: Values as ``rankable`` makes them; +inf passes without comparison.
            times_N: The stream's time at each, in milliseconds.
            granted_N: Values that pass whatever their rank; their passes reduce the debt, too.
            shares_N: Passes that each value adds to the debt, multiples of 2^-32; for a gate whose
                share varies.

        Returns:
            Arrays of shape (N,).
        """
        count = len(values_N)
        passed_N = np.empty(count, np.bool_)
        chosen_N = np.empty(count, np.bool_)
        threshold_N = np.empty(count, np.float32)
        start = 0
        while start < count:
            stop = min(count, start + self._next_refresh - self._seen)
            part = slice(start, stop)
            granted = None if granted_N is None else granted_N[part]
            rise_N = self._rise(stop - start, None if shares_N is None else shares_N[part])
            self._admit_stretch(
                values_N[part], rise_N, granted, passed_N[part], chosen_N[part], threshold_N[part]
            )
            self._window.append(values_N[part], times_N[part])
            if self._seen == self._next_refresh:
                self._plan_stretch(min(self._next_refresh, REFRESH))
                self._add_checkpoint()
                self._refresh()
            start = stop
        return Admission(passed_N, chosen_N, threshold_N)

    def _rise(
        self, count: int, shares_N: npt.NDArray[np.float64] | None
    ) -> npt.NDArray[np.float64]:
        """Rise of the debt (in levels, without passes) at each value since the stretch began."""
        if shares_N is None:
            return self._share * STEPS * _COUNT[1 : count + 1]
        rise_N: npt.NDArray[np.float64] = np.cumsum(shares_N * STEPS)
        self._shares_sum += float(rise_N[-1]) / STEPS
        self._shares_count += count
        return rise_N

    def _plan_stretch(self, length: int) -> None:
        """Plan the next stretch of positions; a varying share is estimated by its last mean."""
        if self._varying and self._shares_count:
            self._share = round(min(self._shares_sum / self._shares_count, 1.0) * ONE) / ONE
            self._shares_sum, self._shares_count = 0.0, 0
            self._replan()
        self._next_refresh += length

    def _admit_stretch(
        self,
        values_N: npt.NDArray[np.float32],
        rise_N: npt.NDArray[np.float64],
        granted_N: npt.NDArray[np.bool_] | None,
        passed_N: npt.NDArray[np.bool_],
        chosen_N: npt.NDArray[np.bool_],
        threshold_N: npt.NDArray[np.float32],
    ) -> None:
        """Decide values that share one table of thresholds; fills the last three arrays."""
        granted_values_N = values_N if granted_N is None else np.where(granted_N, _ALWAYS, values_N)
        start = (self._debt - 0.5 + self._bound) * STEPS
        top = 2.0 * self._bound * STEPS if self._varying else math.inf
        rows_N, level = self._table.walk(granted_values_N, rise_N, start, top, self._seen, passed_N)
        self._debt = level / STEPS + 0.5 - self._bound
        threshold_N[:] = self._table.thresholds_L[rows_N]
        if granted_N is None:
            chosen_N[:] = passed_N
        else:
            chosen_N[:] = self._table.passes_by_value(values_N, rows_N, self._seen)
        self._passed += int(np.count_nonzero(passed_N))
        self._seen += len(values_N)

    def _refresh(self) -> None:
        """Recompute the table of thresholds from the window."""
        self._table = ThresholdTable(self._levels, self._window.recent(self._share))

    def _replan(self) -> None:
        granted = self._granted * self._share if self._varying else self._granted
        ranked = (self._share - granted) / (1.0 - granted) if granted < 1.0 else 0.0
        everything = self._share >= 1.0 and not self._varying
        self._levels = plan_levels(self._share, ranked, self._bound, everything=everything)

    def _add_checkpoint(self) -> None:
        """Keep the counts at this position, and drop those more than a span back."""
        self._checkpoints.append((self._seen, self._passed))
        while self._checkpoints[1][0] <= self._seen - SPAN:
            del self._checkpoints[0]
