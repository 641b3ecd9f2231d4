"""The interception-rate controller: intercepts exactly the share r of a stream (eq. 7).

Two gates in a row. The first passes the most uncertain requests directly, up to a share of *all*
requests; the second ranks the rest by reward and passes the best, so that direct passes, passes
by reward and exploration together make 1 - r, or, under a capacity, at most Q a second. No I/O,
no wall clock: time is event time (:mod:`stream.policy.rate.stream_clock`), and the same requests
give the same decisions however they are split into calls.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.policy.rate.capacity import Reservoir, slack_within
from stream.policy.rate.gate import ShareGate
from stream.policy.rate.levels import ONE, rankable
from stream.policy.rate.window import SlidingWindow


@dataclass(frozen=True, slots=True)
class Target:
    """What a controller is to hold.

    Attributes:
        rate: r, the share of requests to intercept; 0 and 1 are exact.
        capacity: Q, the most passes per second of the stream's time; given, it stands for
            ``rate``, and no more is intercepted than it asks for.
        direct_share: Share of all requests that passes for its uncertainty, inside 1 - r.
        explore: Share eps of the would-be-blocked requests that is going to be granted a pass;
            under a capacity eps times the share that it has room for.
        slack: Passes that may be owed or overdrawn: moves along the frontier between the rate
            held in short windows (small) and reward captured (large).
    """

    rate: float
    capacity: float | None = None
    direct_share: float = 0.0
    explore: float = 0.0
    slack: float = 13.0


@dataclass(frozen=True, slots=True)
class Aim:
    """This worker's own part of a target that the whole fleet holds together.

    Attributes:
        passes: Share of this worker's requests to pass; under a capacity, passes per second.
        part: This worker's part of the fleet's requests, in (0, 1].
    """

    passes: float
    part: float


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What the controller decided about N requests; arrays of shape (N,).

    Attributes:
        passed_N: Whether each passes, for whatever reason.
        direct_N: Whether it passes for its uncertainty.
        chosen_N: Whether its reward alone lets it pass (or it passes directly).
        threshold_N: The reward that was needed, float32; finite. The greatest float means that no
            pass was left to give, the least one that passes were overdue.
        explore_N: The probability with which exploration grants a pass, float64.
        due_N: What the target asks to intercept of each, in [0, 1], float64.
    """

    passed_N: npt.NDArray[np.bool_]
    direct_N: npt.NDArray[np.bool_]
    chosen_N: npt.NDArray[np.bool_]
    threshold_N: npt.NDArray[np.float32]
    explore_N: npt.NDArray[np.float64]
    due_N: npt.NDArray[np.float64]


class InterceptionController:
    """Turns rewards and uncertainties into verdicts whose intercepted share is r.

    Memory: 3 N values per gate for a window of N requests, taken as they come (see
    ``SlidingWindow``, ``ShareGate``).

    Args:
        target: What to hold.
        requests: N, the length of the window that thresholds are read off.
        seconds: The greatest age in that window, or None.
    """

    def __init__(
        self, target: Target, *, requests: int = 1000, seconds: float | None = None
    ) -> None:
        self._target = target
        self._aim: Aim | None = None
        self._reservoir: Reservoir | None = None
        self._direct = ShareGate(0.0, target.slack, SlidingWindow(requests, seconds))
        self._reward = ShareGate(1.0, target.slack, SlidingWindow(requests, seconds))
        self._retarget()
        if self._reservoir is not None:
            self._reward.lend()

    @property
    def target(self) -> Target:
        """What it holds."""
        return self._target

    @property
    def debt(self) -> float:
        """Passes owed less passes given."""
        return self._reward.debt

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
        times_N: npt.NDArray[np.int64],
        draws_N: npt.NDArray[np.float64] | None = None,
    ) -> Verdicts:
        """Decide the next N requests of the stream, in order.

        Args:
            reward_N: Rewards e (eq. 8). NaN ranks below every number.
            uncertainty_N: What direct passing ranks by; not read when its share is 0.
            times_N: The stream's time at each, in milliseconds, int64.
            draws_N: Uniform draws in [0, 1) that exploration grants passes by; None grants none.

        Returns:
            The verdicts.
        """
        count = len(times_N)
        explore, shares_N, direct_shares_N = self._explore, None, None
        explore_N = np.full(count, explore)
        due_N = np.full(count, self._target.rate)
        if self._reservoir is not None:
            shares_N = self._reservoir.draw(times_N)
            due_N = 1.0 - np.minimum(shares_N, 1.0)
            direct_shares_N = np.minimum(shares_N, self._direct_share)
            explore_N = explore * np.minimum(shares_N, 1.0)
        ranked_N = rankable(reward_N)
        direct_N = np.zeros(count, np.bool_)
        if self._direct_share > 0.0:
            ranked_u_N = rankable(uncertainty_N)
            direct_N = self._direct.admit(ranked_u_N, times_N, shares_N=direct_shares_N).passed_N
            ranked_N[direct_N] = np.inf
        granted_N = draws_N < explore_N if draws_N is not None and explore > 0.0 else None
        admission = self._reward.admit(ranked_N, times_N, granted_N, shares_N)
        return Verdicts(
            admission.passed_N,
            direct_N,
            admission.chosen_N,
            admission.threshold_N,
            explore_N,
            due_N,
        )

    def steer(self, target: Target, aim: Aim | None = None) -> None:
        """Hold another target from the next request on; passes owed stay owed.

        Args:
            target: What to hold.
            aim: This worker's part of it, or None to hold it alone.
        """
        if (target, aim) != (self._target, self._aim):
            self._target, self._aim = target, aim
            self._retarget()

    def seed(self, rewards_M: npt.NDArray[np.float32], time: int) -> None:
        """Begin with rewards that were seen elsewhere; before the first request only.

        Args:
            rewards_M: Rewards in an order that leaves any stretch of them representative.
            time: What counts as their time, in milliseconds.
        """
        self._reward.seed(rankable(rewards_M), time)

    def sample(self, count: int) -> npt.NDArray[np.float32]:
        """At most ``count`` evenly spaced quantiles of the window's rewards, rising."""
        return self._reward.sample(count)

    def _retarget(self) -> None:
        target, aim = self._target, self._aim
        slack = target.slack if aim is None else target.slack * 0.75 * math.sqrt(aim.part)
        if target.capacity is not None:
            self._limit(target.capacity if aim is None else aim.passes, slack)
            return
        self._reservoir = None
        passes = 1.0 - target.rate
        if aim is not None and 0.0 < passes < 1.0:
            passes = aim.passes
        direct = self._direct_share = min(target.direct_share, passes)
        room = (passes - direct) / (1.0 - direct) if direct < 1.0 else 0.0
        self._explore = min(target.explore, room)
        self._direct.retarget(direct, slack)
        self._reward.retarget(passes, slack, self._explore)

    def _limit(self, per_second: float, slack: float) -> None:
        """Hold a capacity; the gates' shares vary with the traffic."""
        if self._reservoir is None:
            self._reservoir = Reservoir(per_second)
        else:
            self._reservoir.resize(per_second)
        slack = slack_within(per_second, slack)
        self._direct_share = round(self._target.direct_share * ONE) / ONE
        self._explore = self._target.explore
        self._direct.retarget(self._direct_share, slack, varying=True)
        share = self._reward.share
        self._reward.retarget(share, slack, self._explore, varying=True)
