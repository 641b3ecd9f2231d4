"""The fleet's common threshold: what each worker aims at, from what all of them have seen.

Workers share, per scenario and partition, how many requests a second there are, quantiles of their
rewards, and the passes still due there (owed so far less given). From all of these follow the
threshold of the fleet's mixture at the wanted share, the share of each worker's own requests that
lie above it (these shares add up to the wanted one), and what the fleet as a whole still owes. A
worker holds its own share exactly, as it would hold a rate alone, and all together make good for
the fleet's remainder, each without its own debt, which its controller corrects already. A
partition's passes due move with it to a new owner. Debts are independent, so that each worker
keeps slack in proportion to the square root of its part, and their sum varies as one's would.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from stream.messages.rate_state import PartitionState
from stream.policy.rate.controller import Aim

QUANTILES: Final = 256
"""Quantiles that a summary holds at most."""
HORIZON_S: Final = 3.0
HORIZON: Final = 2_000
"""The fleet's remainder is worked off within these seconds of traffic, or requests if more."""
LEAST: Final = 1e-6
"""Fewer requests per second are none; they would be lost in sums with those of other partitions."""
LARGEST: Final = 0.1
"""The most that the remainder moves a share, as a part of the passes or blocks, the rarer."""


class FleetView:
    """What this worker knows of one scenario on every partition."""

    def __init__(self) -> None:
        self._states: dict[int, PartitionState] = {}

    def merge(self, state: PartitionState) -> bool:
        """Take in what a worker said of a partition, unless it is an owner before the last."""
        known = self._states.get(state.partition)
        if known is not None and state.tenure < known.tenure:
            return False
        if state.per_second < LEAST:
            state = replace(state, per_second=0.0)
        self._states[state.partition] = state
        return True

    def silence(self, partition: int) -> None:
        """Nobody sees requests of a partition any more; what is due there stays due.

        Whoever reports next is believed, whatever the number of its tenure: a wrong number, which
        nobody else reaches, counts until its author is silent.
        """
        if partition in self._states:
            known = self._states[partition]
            self._states[partition] = replace(known, per_second=0.0, tenure=0)

    def heard(self, partition: int) -> PartitionState | None:
        """What was last heard of a partition."""
        return self._states.get(partition)

    def aim(self, passes: float, own: Iterable[int], debt: float) -> Aim | None:
        """This worker's part of a share of passes; None for all of it.

        Args:
            passes: The share of the fleet's requests to pass, inside (0, 1).
            own: Partitions of this worker.
            debt: What its controller owed by itself when it last told the fleet what is due.
        """
        if not self._states:
            return None
        part, share = self._split(passes, own)
        due = sum(state.due for state in self._states.values())
        rarer = min(passes, 1.0 - passes)
        horizon = max(HORIZON, HORIZON_S * sum(s.per_second for s in self._states.values()))
        more = min(max((due - debt) / horizon, -LARGEST * rarer), LARGEST * rarer)
        if part == 1.0 and abs(more) < 1.0 / horizon:
            return None
        least, most = 0.1 * passes, 1.0 - 0.1 * (1.0 - passes)
        return Aim(round(min(max(share + more, least), most), 6), part)

    def limit(self, per_second: float, own: Iterable[int], partitions: int) -> Aim | None:
        """This worker's part of a capacity: that of the passes above the common threshold.

        Args:
            per_second: Q of the fleet.
            own: Partitions of this worker.
            partitions: How many there are; while traffic is not known they count alike.
        """
        own = set(own)
        total = sum(state.per_second for state in self._states.values())
        if total <= 0.0:
            part = len(own) / partitions if partitions else 1.0
            return Aim(per_second * part, part) if 0.0 < part < 1.0 else None
        part, share = self._split(min(1.0, per_second / total), own)
        if part == 1.0:
            return None
        passes = share * part / min(1.0, per_second / total)
        return Aim(round(max(per_second * passes, 0.01 * per_second), 3), part)

    def seeds(self, own: Iterable[int]) -> npt.NDArray[np.float32]:
        """Rewards to begin with: those of the own partitions as last heard, else of all.

        They are in an order that leaves any stretch of them representative.
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
        """This worker's part of the requests, and the share of its own that lie above."""
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
