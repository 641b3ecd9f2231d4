"""What exploration costs: the reward that its passes take from better requests.

Passes are 1 - r in all, so each request that passes at random replaces the next best one. The price
follows from the distribution of rewards that the fleet publishes on ``rate-state``, with no request
decided differently. It is in the model's own rewards: what is learned from explored requests is not
in it.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stream.messages.rate_state import FleetState

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Price:
    """Price of an exploration share eps.

    Attributes:
        explore: eps.
        explored: Share of the passes that are explored.
        lost: Share of the reward of all passes that is lost, compared with eps = 0.
    """

    explore: float
    explored: float
    lost: float


@dataclass(frozen=True, slots=True)
class RewardDistribution:
    """Distribution of the rewards of a scenario's requests.

    Attributes:
        rewards_M: Rewards, falling.
        weights_M: Share of the requests that each stands for; they add up to 1.
    """

    rewards_M: Doubles
    weights_M: Doubles

    @classmethod
    def of(cls, state: FleetState | None) -> "RewardDistribution | None":
        """The rewards of a fleet: each cell of its grid counts as its middle; None if unknown."""
        if state is None or state.per_second <= 0.0 or not len(state.rewards_K):
            return None
        rising_K = state.rewards_K.astype(np.float64)
        lower_K = np.concatenate([rising_K[:1], rising_K[:-1]])
        weights_K = -np.diff(state.above_K.astype(np.float64), prepend=1.0)
        return cls((rising_K + lower_K)[::-1] / 2.0, weights_K[::-1])

    def price(self, passes: float, explore: float) -> Price | None:
        """Price of exploring at a share of passes.

        With eps at most the passes p, a share c of the requests passes by reward, where
        c + eps (1 - c) = p, and eps of all others pass at random.

        Args:
            passes: p = 1 - r.
            explore: eps.

        Returns:
            None if nothing passes, or if the passes are worth nothing by the model's rewards.
        """
        eps = min(explore, passes)
        if passes <= 0:
            return None
        chosen = (passes - eps) / (1 - eps) if eps < 1 else 0.0
        alone, best = self._best(passes), self._best(chosen)
        if alone <= 0:
            return None
        total = float(self.rewards_M @ self.weights_M)
        with_exploration = best + eps * (total - best)
        return Price(explore, eps * (1 - chosen) / passes, 1 - with_exploration / alone)

    def _best(self, share: float) -> float:
        """Reward of the best ``share`` of the requests, per request of all."""
        before_M = np.cumsum(self.weights_M) - self.weights_M
        taken_M = np.clip(share - before_M, 0.0, self.weights_M)
        return float(self.rewards_M @ taken_M)
