"""Pacing: spending reports drive the rate, "r dynamically changes with consumption".

The law. At each report let w = (budget - spent) / (end - now) be the pace at which the rest would
be spent by the end, and v the pace since the report before. Spending is proportional to the share p
that passes, so p w / v would spend at w; the share moves towards it on a logarithmic scale,

    p <- clip(p (w / v)^gain, 1 - most, 1 - least),    (w / v)^gain within [1/2, 2]

and r = 1 - p. It is an integral law of the relative error of the pace: it comes to rest only where
v = w, and since w counts what is left, overspending is corrected by the end. Anti-windup:
the state is p itself, clipped to its bounds, so nothing accumulates while a bound holds. A spent
budget sets ``most`` at once; time without spending raises p by at most a factor of 2.
"""

from typing import Final

from models.settings import ConsumptionSettings
from stream.messages.consumption import Spending

STRIDE: Final = 2.0
"""The greatest factor by which one report moves the share that passes."""
FLOOR: Final = 1e-4
"""Least share of passes that is multiplied, so that it can rise again from 0."""


class Pacing:
    """The rate that spends a budget evenly, moved by each report.

    Args:
        settings: Bounds and gain.
        rate: r before the first report.
    """

    def __init__(self, settings: ConsumptionSettings, rate: float) -> None:
        self._settings = settings
        self._passes = self._bounded(1.0 - rate)
        self._last: Spending | None = None

    @property
    def rate(self) -> float:
        """r, the share to intercept."""
        return 1.0 - self._passes

    def update(self, now: Spending) -> None:
        """Move the rate by a spending report; one that is not newer than the last is ignored."""
        last = self._last
        if last is None or (last.start, last.end) != (now.start, now.end):
            last = Spending(now.budget, 0.0, now.start, now.end, now.start)
        if now.ts <= last.ts:
            return
        self._last = now
        left, remains = now.budget - now.spent, now.end - now.ts
        if left <= 0.0:
            self._passes = self._bounded(0.0)
            return
        if remains <= 0:
            return
        wanted = left / remains
        pace = max(0.0, now.spent - last.spent) / (now.ts - last.ts)
        factor = STRIDE if pace <= 0.0 else (wanted / pace) ** self._settings.gain
        passes = max(self._passes, FLOOR) * min(max(factor, 1.0 / STRIDE), STRIDE)
        self._passes = self._bounded(passes)

    def _bounded(self, passes: float) -> float:
        return min(max(passes, 1.0 - self._settings.most), 1.0 - self._settings.least)
