"""The interception-rate controller: intercepts exactly the share r of a stream (eq. 7).

Two gates in a row. The first passes the most uncertain requests directly, up to a share of *all*
requests; the second ranks the rest by reward and passes the best, so that direct passes, passes
by reward and exploration together make 1 - r. No I/O, no wall clock: the records' timestamps are
the clock, and the same records give the same decisions however they are cut into calls.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.policy.gate import ShareGate, rankable
from stream.policy.window import SlidingWindow


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the controller decided about N requests; arrays of shape (N,).

    Attributes:
        passed_N: Whether each passes, for whatever reason.
        direct_N: Whether it passes for its uncertainty.
        chosen_N: Whether its reward alone lets it pass (or it passes directly).
        threshold_N: The reward that was needed, float32; finite. The greatest float means that no
            pass was left to give, the least one that passes were overdue.
    """

    passed_N: npt.NDArray[np.bool_]
    direct_N: npt.NDArray[np.bool_]
    chosen_N: npt.NDArray[np.bool_]
    threshold_N: npt.NDArray[np.float32]


class InterceptionController:
    """Turns rewards and uncertainties into verdicts whose intercepted share is r.

    Memory: 2 N values per gate for a window of N requests (see ``SlidingWindow``, ``ShareGate``).

    Args:
        rate: r, the share of requests to intercept; 0 and 1 are exact.
        direct_share: Share of all requests that passes for its uncertainty, inside 1 - r.
        explore: Share eps of the would-be-blocked requests that is going to be granted a pass.
        slack: Passes that may be owed or overdrawn: moves along the frontier between the rate
            held in short windows (small) and reward captured (large).
        requests: N, the length of the window that thresholds are read off.
        seconds: The greatest age in that window, or None.
    """

    def __init__(
        self,
        rate: float,
        *,
        direct_share: float = 0.0,
        explore: float = 0.0,
        slack: float = 13.0,
        requests: int = 1000,
        seconds: float | None = None,
    ) -> None:
        self._direct_share = direct_share
        self._explore = explore
        self._rate = rate
        direct, granted = self._shares(rate)
        self._direct = ShareGate(direct, slack, SlidingWindow(requests, seconds))
        self._reward = ShareGate(1.0 - rate, slack, SlidingWindow(requests, seconds), granted)

    @property
    def rate(self) -> float:
        """r, the share to intercept."""
        return self._rate

    @property
    def explore(self) -> float:
        """The share of would-be-blocked requests to grant a pass, as far as the budget allows."""
        return self._shares(self._rate)[1]

    @property
    def achieved(self) -> float:
        """Share intercepted of the last 10,000 requests (fewer at the start; NaN before any)."""
        return 1.0 - self._reward.achieved

    @property
    def threshold(self) -> float:
        """The reward needed to pass when nothing is owed; NaN before the first request."""
        return self._reward.threshold

    @property
    def uncertainty_threshold(self) -> float:
        """The uncertainty needed to pass directly when nothing is owed; NaN at first."""
        return self._direct.threshold

    def decide(
        self,
        reward_N: npt.NDArray[np.floating[Any]],
        uncertainty_N: npt.NDArray[np.floating[Any]],
        timestamps_N: npt.NDArray[np.int64],
        granted_N: npt.NDArray[np.bool_] | None = None,
    ) -> Verdicts:
        """Decide the next N requests of the stream, in order.

        Args:
            reward_N: Rewards e (eq. 8). NaN ranks below every number.
            uncertainty_N: What direct passing ranks by; not read when its share is 0.
            timestamps_N: The records' timestamps in milliseconds, int64.
            granted_N: Requests that pass even when their reward does not (exploration).

        Returns:
            The verdicts.
        """
        ranked_N = rankable(reward_N)
        direct_N = np.zeros(len(ranked_N), np.bool_)
        if self._direct.share > 0.0:
            direct_N = self._direct.admit(rankable(uncertainty_N), timestamps_N).passed_N
            ranked_N[direct_N] = np.inf
        admission = self._reward.admit(ranked_N, timestamps_N, granted_N)
        return Verdicts(admission.passed_N, direct_N, admission.chosen_N, admission.threshold_N)

    def retarget(self, rate: float) -> None:
        """Intercept another share from the next request on; passes owed stay owed."""
        self._rate = rate
        direct, granted = self._shares(rate)
        self._direct.retarget(direct)
        self._reward.retarget(1.0 - rate, granted)

    def redirect(self, direct_share: float) -> None:
        """Pass another share directly from the next request on; the rate stays."""
        if direct_share != self._direct_share:
            self._direct_share = direct_share
            self.retarget(self._rate)

    def snapshot(self) -> dict[str, Any]:
        """The state as JSON-able data."""
        return {"direct": self._direct.snapshot(), "reward": self._reward.snapshot()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue exactly where the controller of a :meth:`snapshot` stood.

        The target stays this controller's own; under another target than the snapshot's the
        thresholds are read anew off the restored window.

        Raises:
            KeyError: If the state lacks a part.
        """
        self._direct.restore(state["direct"])
        self._reward.restore(state["reward"])

    def _shares(self, rate: float) -> tuple[float, float]:
        """Direct share and exploration share that fit into the passes 1 - r."""
        passes = 1.0 - rate
        direct = min(self._direct_share, passes)
        room = (passes - direct) / (1.0 - direct) if direct < 1.0 else 0.0
        return direct, min(self._explore, room)
