"""The fleet's common threshold: the target of each worker, computed from one state of all.

Workers publish, per scenario, their requests per second, quantiles of their rewards, and the passes
they owe; a coordinator mixes them (:mod:`stream.policy.fleet.mixer`). The mixture gives the
threshold at the wanted share of passes, and a worker's own summary *in that state* the share of its
own requests above it. These shares add up to the wanted one exactly: every worker reads the same
two neighbouring rewards of the grid, and the mixture's share above each is the sum of theirs.

A worker holds its own share exactly, as it would hold a rate standalone. What remains of the
fleet's debt (traffic that changed, workers that were lost) all pay back together. Debts are
independent, so each worker's slack is proportional to the square root of its part of the traffic,
and their sum varies as that of a single worker would, up to a dozen workers or so (`LEAST_SLACK`).
"""

import math
from collections import deque
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.messages.rate_state import FleetState
from stream.messages.rate_summary import RateSummary
from stream.policy.rate.controller import WorkerTarget

QUANTILES: Final = 256
"""Most quantiles of a summary of rewards."""
KEPT: Final = 16
"""Own summaries that are kept until a state contains them."""
INTERVAL_S: Final = (0.1, 1.0)
"""Least and greatest time between two summaries of a worker, and two states of a fleet."""
WORKER_S: Final = 0.004
"""The time between them is this for each worker of the fleet, within `INTERVAL_S`."""
HORIZON_INTERVALS: Final = 2.0
HORIZON: Final = 500
"""The fleet's debt is paid back within the traffic of so many intervals, or requests if more; or of
the time that a summary takes until a state with it is there, if that is longer: a faster loop would
swing."""
CYCLE_KEPT: Final = 0.98
"""Part of the longest such time that is kept from one state to the next."""
SLACK: Final = 0.75
"""Root of the sum of the workers' squared slacks, relative to the slack of the target: less than 1
leaves room for what no worker's own debt contains."""
LEAST_SLACK: Final = 0.25
"""Slack of a worker at least: at a slack of 1 pass a worker of a large fleet would lose a tenth of
its reward, for a rate that is exact over windows of a few requests of each."""
MAX_CORRECTION: Final = 0.1
"""Most that the fleet's debt moves a share, relative to the passes or blocks, the rarer ones."""


def interval_s(workers: int) -> float:
    """Time between two summaries of a worker, and two states of a fleet of so many workers.

    The rate of a window of requests is as exact as the workers' figures are recent, so a small
    fleet reports more often; the coordinator reads 250 summaries a second up to that many workers,
    and one a second of each worker of more.
    """
    least, greatest = INTERVAL_S
    return min(max(least, WORKER_S * workers), greatest)


@dataclass(frozen=True, slots=True)
class _Published:
    """A summary of this worker, when it was made, and its offset once that is known."""

    summary: RateSummary
    made_s: float
    offset: int | None


class FleetView:
    """The newest state of one scenario, and this worker's summaries."""

    def __init__(self) -> None:
        self.state: FleetState | None = None
        self._correcting = False
        self._cycle_s = 0.0
        self._published: deque[_Published] = deque(maxlen=KEPT)

    def publish(self, summary: RateSummary, now_s: float) -> None:
        """Keep a summary that is being published, now."""
        self._published.append(_Published(summary, now_s, None))

    def acknowledge(self, sequence: int, offset: int) -> float | None:
        """The broker has a summary of this worker at this offset of its slot.

        Returns:
            Its passes owed; None if it is no longer kept here.
        """
        for index, found in enumerate(self._published):
            if found.summary.sequence == sequence:
                self._published[index] = replace(found, offset=offset)
                return found.summary.owed
        return None

    def merge(self, state: FleetState) -> bool:
        """Use a state, unless it contains fewer summaries than the one in use.

        Returns:
            Whether it is used.
        """
        if self.state is not None and state.through < self.state.through:
            return False
        self.state, self._correcting = state, True
        self._cycle_s = max(CYCLE_KEPT * self._cycle_s, self._measure_cycle())
        return True

    def hold(self) -> None:
        """No new state has come for a while: go on with the last, but pay back no debt by it."""
        self._correcting = False

    def expire(self) -> None:
        """Forget the state; any next one is used."""
        self.state = None

    def share_target(self, passes: float) -> WorkerTarget | None:
        """This worker's part of a share of passes; None if that is all of it.

        Args:
            passes: The share of the fleet's requests to pass, inside (0, 1).
        """
        state, own = self.state, self._own()
        if state is None or own is None:
            return None
        part, share = self._split(own, passes)
        rarer = min(passes, 1.0 - passes)
        horizon_s = max(HORIZON_INTERVALS * interval_s(state.workers), self._cycle_s)
        horizon = max(HORIZON, horizon_s * state.per_second)
        limit = MAX_CORRECTION * rarer
        more = min(max((state.debt - state.held) / horizon, -limit), limit)
        if not self._correcting:
            more = 0.0
        if part == 1.0 and abs(more) < 1.0 / horizon:
            return None
        least, most = 0.1 * passes, 1.0 - 0.1 * (1.0 - passes)
        return WorkerTarget(round(min(max(share + more, least), most), 6), _slack(part))

    def surplus(self, passes: float) -> float:
        """Share of the own requests that this worker passes beyond a share of passes, by the split.

        The workers' surpluses add up to nothing, weighted by their traffic.
        """
        own = self._own()
        return 0.0 if own is None else self._split(own, passes)[1] - passes

    def capacity_target(
        self, per_second: float, own_count: int, partitions: int
    ) -> WorkerTarget | None:
        """This worker's part of a capacity: its part of the passes above the common threshold.

        Args:
            per_second: Q of the fleet.
            own_count: Number of partitions of this worker.
            partitions: Number of all partitions; they count alike while traffic is unknown.
        """
        state, own = self.state, self._own()
        if state is None or own is None or state.per_second <= 0.0:
            part = own_count / partitions if partitions else 1.0
            return WorkerTarget(per_second * part, _slack(part)) if 0.0 < part < 1.0 else None
        wanted = min(1.0, per_second / state.per_second)
        part, share = self._split(own, wanted)
        if part == 1.0:
            return None
        passes = share * part / wanted
        passes = round(max(per_second * passes, 0.01 * per_second), 3)
        return WorkerTarget(passes, _slack(part))

    def initial_rewards(self) -> npt.NDArray[np.float32]:
        """Rewards of the fleet to start a controller with.

        They are in an order in which any stretch of them is representative.
        """
        if self.state is None or not len(self.state.rewards_K):
            return np.empty(0, np.float32)
        levels_M = (np.arange(QUANTILES) + 0.5) / QUANTILES
        at_M = np.searchsorted(-self.state.above_K, -levels_M)
        rewards_M = np.sort(self.state.rewards_K[at_M])
        spread_M = np.argsort(np.arange(len(rewards_M)) * 0.6180339887498949 % 1.0)
        return rewards_M[spread_M]

    def _own(self) -> RateSummary | None:
        """This worker's summary in the state, if there is one."""
        found = self._own_published()
        return None if found is None else found.summary

    def _own_published(self) -> _Published | None:
        if self.state is None:
            return None
        for found in reversed(self._published):
            if found.offset is not None and found.offset < self.state.through:
                return found
        return None

    def _measure_cycle(self) -> float:
        """Time from the summary in the state to the newest one, and from that to the next."""
        own = self._own_published()
        if own is None or len(self._published) < 2:
            return 0.0
        newest, before = self._published[-1], self._published[-2]
        return newest.made_s - own.made_s + newest.made_s - before.made_s

    def _split(self, own: RateSummary, passes: float) -> tuple[float, float]:
        """This worker's part of the requests, and the share of its own above the threshold."""
        state = self.state
        if state is None or not 0.0 < own.per_second < state.per_second:
            return (1.0, passes)
        if not len(own.rewards_Q) or not len(state.rewards_K):
            return (1.0, passes)
        at = int(np.searchsorted(-state.above_K, -passes))
        higher, lower = 1.0, 1.0  # share of all requests, and of the own ones, above no reward
        if at:
            higher, lower = float(state.above_K[at - 1]), _above(own, state.rewards_K[at - 1])
        reached, mine = float(state.above_K[at]), _above(own, state.rewards_K[at])
        between = (passes - reached) / (higher - reached) if higher > reached else 0.0
        return (own.per_second / state.per_second, mine + between * (lower - mine))


def _slack(part: float) -> float:
    """Slack of a worker with this part of the traffic, relative to that of the target."""
    return max(LEAST_SLACK, SLACK * math.sqrt(part))


def _above(own: RateSummary, reward: np.float32) -> float:
    """Share of a worker's own requests above a reward."""
    return 1.0 - float(np.searchsorted(own.rewards_Q, reward, side="right")) / len(own.rewards_Q)
