"""One gate: lets a given share of a stream through, the highest values of it, in every stretch.

The gate keeps a *debt*: the passes owed so far less the passes given. The wanted pass share is
the target plus a correction by the debt, and the threshold is that quantile of a sliding window:

    share(D) = q + q (1 - q) (pi / 2E) tan(pi d / 2E),        |D| <= B,   E = min(B, 30),

where d is the part of D within E of the bound: D itself while B <= 30. This correction is the
cheapest one, to second order in lost value, that keeps the debt's diffusion (variance q (1 - q)
per request) inside +-E: the drift of a Brownian motion conditioned to stay in an interval (Doob's
transform by the ground state cos(pi d / 2E)). With more slack a debt may stand: to pay it back
costs reward, and buys nothing until the bound is near. At the bound the gate gives or denies
outright, so the error over any W requests is at most (2 B + 1) / W.

Thresholds are refreshed at fixed positions of the stream, never per call, and the debt is exact
(the share is a multiple of 2^-32): decisions do not depend on how the stream was cut.
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
"""Consecutive requests over which the rate is promised."""
RARE: Final = 0.029
"""Where passes (or blocks, the rarer) are rarer than this share, the slack shrinks with them: at
r = 0.99 a slack of 13 leaves 4.5, which is 4.5 % of the passes that a span owes."""
_SURE: Final = np.float32(np.inf)
_COUNT: Final = np.arange(REFRESH + 1, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class Admission:
    """What a gate said about N values.

    Attributes:
        passed_N: Whether each passes, by its value or because it was granted.
        chosen_N: Whether its value alone lets it pass.
        threshold_N: The value that was needed, float32; equal values may go either way.
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
        slack: B, the passes that may be owed or overdrawn at any time (see ``RARE``).
        window: The window that thresholds are quantiles of.
        granted: Share of the values that are granted a pass whatever their rank.
    """

    def __init__(
        self, share: float, slack: float, window: SlidingWindow, granted: float = 0.0
    ) -> None:
        self._window = window
        self._seen = 0
        self._owed, self._told = 0.0, 0
        self._passed = 0
        self._debt = 0.0
        self._due = 1
        self._marks: list[tuple[int, int]] = [(0, 0)]
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
        """Share that passed, of the last SPAN values (as many as there were; NaN before any)."""
        seen, passed = self._marks[0]
        if self._seen == seen:
            return math.nan
        return (self._passed - passed) / (self._seen - seen)

    @property
    def threshold(self) -> float:
        """The value that would be needed at no debt; NaN before anything was seen."""
        return self._table.thresholds[round(self._bound * STEPS)] if self._seen else math.nan

    def retarget(
        self, share: float, slack: float, granted: float = 0.0, *, varying: bool = False
    ) -> None:
        """Let another share through from the next value on; what is owed stays owed.

        Args:
            share: q, from now on; the share to begin with where it varies.
            slack: B, the passes that may be owed or overdrawn at any time.
            granted: Share of the values that are granted a pass whatever their rank; where the
                share varies, that share's part of it.
            varying: Whether :meth:`admit` is told what each value adds to what is owed.
        """
        self._varying = varying
        self._granted = granted
        self._share = round(share * ONE) / ONE
        rarer = RARE if varying else min(self._share, 1.0 - self._share)
        self._bound = math.ceil(max(1.0, slack * min(1.0, rarer / RARE)) * STEPS) / STEPS
        self._debt = min(max(self._debt, -self._bound), self._bound)
        self._replan()
        self._refresh()

    def lend(self) -> None:
        """Begin with as many passes owed as may be, so that nothing is denied at first."""
        self._debt = self._bound + 0.5

    def seed(self, values_M: npt.NDArray[np.float32], time: int) -> None:
        """Begin with a window that was seen elsewhere, instead of an empty one.

        Args:
            values_M: Rankable values, in an order that leaves any stretch of them representative.
            time: What counts as their time, in milliseconds.
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
            granted_N: Values that pass whatever their rank; they count against what is owed.
            shares_N: What each value adds to the passes owed, multiples of 2^-32; for a gate
                whose share varies.

        Returns:
            Arrays of shape (N,).
        """
        count = len(values_N)
        passed_N = np.empty(count, np.bool_)
        chosen_N = np.empty(count, np.bool_)
        threshold_N = np.empty(count, np.float32)
        start = 0
        while start < count:
            stop = min(count, start + self._due - self._seen)
            part = slice(start, stop)
            granted = None if granted_N is None else granted_N[part]
            climb_N = self._climb(stop - start, None if shares_N is None else shares_N[part])
            self._admit_stretch(
                values_N[part], climb_N, granted, passed_N[part], chosen_N[part], threshold_N[part]
            )
            self._window.append(values_N[part], times_N[part])
            if self._seen == self._due:
                self._follow(min(self._due, REFRESH))
                self._mark()
                self._refresh()
            start = stop
        return Admission(passed_N, chosen_N, threshold_N)

    def _climb(
        self, count: int, shares_N: npt.NDArray[np.float64] | None
    ) -> npt.NDArray[np.float64]:
        """Steps by which what is owed has risen at each value since the stretch began."""
        if shares_N is None:
            return self._share * STEPS * _COUNT[1 : count + 1]
        climb_N: npt.NDArray[np.float64] = np.cumsum(shares_N * STEPS)
        self._owed += float(climb_N[-1]) / STEPS
        self._told += count
        return climb_N

    def _follow(self, next_stretch: int) -> None:
        """Plan the next stretch of positions; a share that varies is taken to be its last mean."""
        if self._varying and self._told:
            self._share = round(min(self._owed / self._told, 1.0) * ONE) / ONE
            self._owed, self._told = 0.0, 0
            self._replan()
        self._due += next_stretch

    def _admit_stretch(
        self,
        values_N: npt.NDArray[np.float32],
        climb_N: npt.NDArray[np.float64],
        granted_N: npt.NDArray[np.bool_] | None,
        passed_N: npt.NDArray[np.bool_],
        chosen_N: npt.NDArray[np.bool_],
        threshold_N: npt.NDArray[np.float32],
    ) -> None:
        """Decide values that share one table of thresholds, into the three last arrays."""
        sure_N = values_N if granted_N is None else np.where(granted_N, _SURE, values_N)
        start = (self._debt - 0.5 + self._bound) * STEPS
        top = 2.0 * self._bound * STEPS if self._varying else math.inf
        rows_N, level = self._table.walk(sure_N, climb_N, start, top, self._seen, passed_N)
        self._debt = level / STEPS + 0.5 - self._bound
        threshold_N[:] = self._table.thresholds_L[rows_N]
        if granted_N is None:
            chosen_N[:] = passed_N
        else:
            chosen_N[:] = self._table.chooses(values_N, rows_N, self._seen)
        self._passed += int(np.count_nonzero(passed_N))
        self._seen += len(values_N)

    def _refresh(self) -> None:
        """Read the table of thresholds off the window."""
        self._table = ThresholdTable(self._levels, self._window.recent(self._share))

    def _replan(self) -> None:
        granted = self._granted * self._share if self._varying else self._granted
        ranked = (self._share - granted) / (1.0 - granted) if granted < 1.0 else 0.0
        everything = self._share >= 1.0 and not self._varying
        self._levels = plan_levels(self._share, ranked, self._bound, everything=everything)

    def _mark(self) -> None:
        """Remember the counts here, and forget those that lie more than a span back."""
        self._marks.append((self._seen, self._passed))
        while self._marks[1][0] <= self._seen - SPAN:
            del self._marks[0]
