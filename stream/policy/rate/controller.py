"""The interception-rate controller: intercepts exactly the share r of a stream (eq. 7).

Two gates in a row. The first passes the most uncertain requests directly, up to a share of *all*
requests; the second ranks the rest by reward and passes the best, so that direct passes, passes
by reward and exploration together make 1 - r, or, under a capacity, at most Q a second. No I/O,
no wall clock: time is event time (:mod:`stream.policy.rate.stream_clock`), and the same requests
give the same decisions however they are split into calls.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stream.policy.rate.capacity import TokenBucket, slack_within
from stream.policy.rate.gate import ShareGate
from stream.policy.rate.levels import ONE, rankable
from stream.policy.rate.window import SlidingWindow


@dataclass(frozen=True, slots=True)
class Target:
    """The setpoint of a controller.

    Attributes:
        rate: r, the share of requests to intercept; 0 and 1 are exact.
        capacity: Q, the most passes per second of event time; if given, it replaces ``rate``, and
            no more is intercepted than it requires.
        direct_share: Share of all requests that passes for its uncertainty, inside 1 - r.
        explore: Share eps of the would-be-blocked requests that is granted a pass; under a
            capacity eps times the share that it has room for.
        slack: Bound of the debt, in passes either way: the trade-off between the rate in short
            windows (small) and reward captured (large).
    """

    rate: float
    capacity: float | None = None
    direct_share: float = 0.0
    explore: float = 0.0
    slack: float = 13.0


@dataclass(frozen=True, slots=True)
class WorkerTarget:
    """One worker's part of a target that the whole fleet holds together.

    Attributes:
        passes: Share of this worker's requests to pass; under a capacity, passes per second.
        slack: Bound of this worker's debt, relative to the slack of the target, in (0, 1].
    """

    passes: float
    slack: float


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Decisions of the controller about N requests; arrays of shape (N,).

    Attributes:
        passed_N: Whether each passes, for whatever reason.
        direct_N: Whether it passes for its uncertainty.
        chosen_N: Whether it passes without exploration: by its reward, or directly.
        threshold_N: The reward that was needed, float32; finite. The greatest float means that
            nothing may pass, the least one that everything passes.
        explore_N: The probability with which exploration grants a pass, float64.
        target_rate_N: The interception rate that was to be held at each, in [0, 1], float64.
    """

    passed_N: npt.NDArray[np.bool_]
    direct_N: npt.NDArray[np.bool_]
    chosen_N: npt.NDArray[np.bool_]
    threshold_N: npt.NDArray[np.float32]
    explore_N: npt.NDArray[np.float64]
    target_rate_N: npt.NDArray[np.float64]


class InterceptionController:
    """Turns rewards and uncertainties into verdicts whose intercepted share is r.

    Memory: 3 N values per gate for a window of N requests, allocated as requests arrive (see
    ``SlidingWindow``, ``ShareGate``).

    Args:
        target: The setpoint.
        requests: N, the length of the window that thresholds are read from.
        seconds: The greatest age in that window, or None.
    """

    def __init__(
        self, target: Target, *, requests: int = 1000, seconds: float | None = None
    ) -> None:
        self._target = target
        self._worker_target: WorkerTarget | None = None
        self._bucket: TokenBucket | None = None
        self._direct = ShareGate(0.0, target.slack, SlidingWindow(requests, seconds))
        self._reward = ShareGate(1.0, target.slack, SlidingWindow(requests, seconds))
        self._apply_target()
        if self._bucket is not None:
            self._reward.start_at_bound()

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
        """The reward needed to pass without debt; NaN before the first request."""
        return self._reward.threshold

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
            uncertainty_N: Uncertainties that direct passing ranks by; not read if its share is 0.
            times_N: The stream's time at each, in milliseconds, int64.
            draws_N: Uniform draws in [0, 1) of exploration; without them it grants no passes.

        Returns:
            The verdicts.
        """
        count = len(times_N)
        explore, shares_N, direct_shares_N = self._explore, None, None
        explore_N = np.full(count, explore)
        target_rate_N = np.full(count, self._target.rate)
        if self._bucket is not None:
            shares_N = self._bucket.accrue(times_N)
            target_rate_N = 1.0 - np.minimum(shares_N, 1.0)
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
            target_rate_N,
        )

    def retarget(self, target: Target, worker_target: WorkerTarget | None = None) -> None:
        """Hold another target from the next request on; the debt stays.

        Args:
            target: The new setpoint.
            worker_target: This worker's part of it; None to hold it standalone.
        """
        if (target, worker_target) != (self._target, self._worker_target):
            self._target, self._worker_target = target, worker_target
            self._apply_target()

    def seed(self, rewards_M: npt.NDArray[np.float32], time: int) -> None:
        """Start with rewards that another worker has seen; only before the first request.

        Args:
            rewards_M: Rewards in an order in which any stretch of them is representative.
            time: The stream's time that they are given, in milliseconds.
        """
        self._reward.seed(rankable(rewards_M), time)

    def sample(self, count: int) -> npt.NDArray[np.float32]:
        """At most ``count`` evenly spaced quantiles of the window's rewards, rising."""
        return self._reward.sample(count)

    def _apply_target(self) -> None:
        target, part = self._target, self._worker_target
        slack = target.slack if part is None else target.slack * part.slack
        if target.capacity is not None:
            self._limit(target.capacity if part is None else part.passes, slack)
            return
        self._bucket = None
        passes = 1.0 - target.rate
        if part is not None and 0.0 < passes < 1.0:
            passes = part.passes
        direct = self._direct_share = min(target.direct_share, passes)
        room = (passes - direct) / (1.0 - direct) if direct < 1.0 else 0.0
        self._explore = min(target.explore, room)
        self._direct.retarget(direct, slack)
        self._reward.retarget(passes, slack, self._explore)

    def _limit(self, per_second: float, slack: float) -> None:
        """Hold a capacity; the shares of the gates vary with the traffic."""
        if self._bucket is None:
            self._bucket = TokenBucket(per_second)
        else:
            self._bucket.resize(per_second)
        slack = slack_within(per_second, slack)
        self._direct_share = round(self._target.direct_share * ONE) / ONE
        self._explore = self._target.explore
        self._direct.retarget(self._direct_share, slack, varying=True)
        share = self._reward.share
        self._reward.retarget(share, slack, self._explore, varying=True)
