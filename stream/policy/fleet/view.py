"""The fleet's common threshold: the target of each worker, computed from the states of all.

Workers share, per scenario and partition, the requests per second, quantiles of their rewards, and
the debt (passes owed so far less passes given). These give the threshold of the fleet's mixture at
the wanted share of passes, the share of each worker's own requests above it (these shares add up to
the wanted one), and the debt of the fleet as a whole. A worker holds its own share exactly, as it
would hold a rate standalone, and all together pay back the fleet's debt; each leaves out its own
debt, which its controller corrects already. The debt of a partition is transferred to its next
owner. Debts are independent, so each worker's slack is proportional to the square root of its part
of the traffic, and their sum varies as that of a single worker would.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.messages.rate_state import PartitionState
from stream.policy.rate.controller import WorkerTarget

QUANTILES: Final = 256
"""Most quantiles of a summary of rewards."""
HORIZON_S: Final = 3.0
HORIZON: Final = 2_000
"""The fleet's debt is paid back within these seconds of traffic, or requests if more."""
MIN_PER_SECOND: Final = 1e-6
"""Fewer requests per second count as none; sums with other partitions would lose them."""
MAX_CORRECTION: Final = 0.1
"""Most that the fleet's debt moves a share, relative to the passes or blocks, the rarer ones."""


class FleetView:
    """The states of one scenario on every partition, as far as this worker received them."""

    def __init__(self) -> None:
        self._states: dict[int, PartitionState] = {}

    def merge(self, state: PartitionState) -> bool:
        """Keep a partition's new state, unless it is of an earlier generation than the latest.

        Returns:
            Whether it was kept.
        """
        known = self._states.get(state.partition)
        if known is not None and state.generation < known.generation:
            return False
        if state.per_second < MIN_PER_SECOND:
            state = replace(state, per_second=0.0)
        self._states[state.partition] = state
        return True

    def expire(self, partition: int) -> None:
        """Count a partition without recent updates as one without requests; its debt stays.

        The next update is accepted, whatever its generation: a wrong generation, which no owner
        reaches, counts until its author stops publishing.
        """
        if partition in self._states:
            known = self._states[partition]
            self._states[partition] = replace(known, per_second=0.0, generation=0)

    @property
    def states(self) -> Iterable[PartitionState]:
        """The latest states of all partitions."""
        return self._states.values()

    def latest(self, partition: int) -> PartitionState | None:
        """The latest state of a partition, if there is one."""
        return self._states.get(partition)

    def share_target(self, passes: float, own: Iterable[int], debt: float) -> WorkerTarget | None:
        """This worker's part of a share of passes; None if that is all of it.

        Args:
            passes: The share of the fleet's requests to pass, inside (0, 1).
            own: Partitions of this worker.
            debt: Debt of its controller when it last published its states.
        """
        if not self._states:
            return None
        part, share = self._split(passes, own)
        fleet_debt = sum(state.debt for state in self._states.values())
        rarer = min(passes, 1.0 - passes)
        horizon = max(HORIZON, HORIZON_S * sum(s.per_second for s in self._states.values()))
        limit = MAX_CORRECTION * rarer
        more = min(max((fleet_debt - debt) / horizon, -limit), limit)
        if part == 1.0 and abs(more) < 1.0 / horizon:
            return None
        least, most = 0.1 * passes, 1.0 - 0.1 * (1.0 - passes)
        return WorkerTarget(round(min(max(share + more, least), most), 6), part)

    def capacity_target(
        self, per_second: float, own: Iterable[int], partitions: int
    ) -> WorkerTarget | None:
        """This worker's part of a capacity: its part of the passes above the common threshold.

        Args:
            per_second: Q of the fleet.
            own: Partitions of this worker.
            partitions: Number of all partitions; they count alike while traffic is unknown.
        """
        own = set(own)
        total = sum(state.per_second for state in self._states.values())
        if total <= 0.0:
            part = len(own) / partitions if partitions else 1.0
            return WorkerTarget(per_second * part, part) if 0.0 < part < 1.0 else None
        part, share = self._split(min(1.0, per_second / total), own)
        if part == 1.0:
            return None
        passes = share * part / min(1.0, per_second / total)
        return WorkerTarget(round(max(per_second * passes, 0.01 * per_second), 3), part)

    def initial_rewards(self, own: Iterable[int]) -> npt.NDArray[np.float32]:
        """Rewards to start a controller with: latest ones of the own partitions, else of all.

        They are in an order in which any stretch of them is representative.
        """
        own = set(own)
        known = [state for state in self._states.values() if len(state.rewards_Q)]
        mine = [state for state in known if state.partition in own] or known
        if not mine:
            return np.empty(0, np.float32)
        rewards_M = np.sort(np.concatenate([state.rewards_Q for state in mine]))
        spread_M = np.argsort(np.arange(len(rewards_M)) * 0.6180339887498949 % 1.0)
        return rewards_M[spread_M]

    def _split(self, passes: float, own: Iterable[int]) -> tuple[float, float]:
        """This worker's part of the requests, and the share of its own above the threshold."""
        own = set(own)
        live = [s for s in self._states.values() if s.per_second > 0.0 and len(s.rewards_Q)]
        total = sum(state.per_second for state in live)
        mine = sum(state.per_second for state in live if state.partition in own)
        if mine <= 0.0 or mine >= total:
            return (1.0, passes)
        weights_M = np.concatenate(
            [np.full(len(s.rewards_Q), s.per_second / len(s.rewards_Q)) for s in live]
        )
        rewards_M = np.concatenate([state.rewards_Q for state in live])
        owned_M = np.concatenate(
            [np.full(len(s.rewards_Q), s.partition in own, np.bool_) for s in live]
        )
        order_M = np.argsort(-rewards_M, kind="stable")
        above = total * passes
        before = np.cumsum(weights_M[order_M]) - weights_M[order_M]
        threshold = rewards_M[order_M[max(0, int(np.searchsorted(before, above)) - 1)]]
        higher_M, tied_M = rewards_M > threshold, rewards_M == threshold
        rest = above - float(weights_M[higher_M].sum())
        tied = min(max(rest / float(weights_M[tied_M].sum()), 0.0), 1.0)
        share = float(weights_M[higher_M & owned_M].sum()) + tied * float(
            weights_M[tied_M & owned_M].sum()
        )
        return (mine / total, share / mine)
