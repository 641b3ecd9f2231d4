"""The reward of a request under one set of settings: t = h(s, u) (eq. 9), e = f(t) (eq. 8)."""

from typing import Final

import numpy as np
import numpy.typing as npt

from models.settings import ScenarioSettings
from models.tasks import TaskSet
from stream.policy.value.confidence import Confidence
from stream.policy.value.reward import RewardFunction, build_reward, checked_reward

KEYS: Final = frozenset(
    {"reward", "weights", "confidence", "kappa", "reference", "uncertainty_source"}
)
"""The settings that a valuation depends on; scenarios with equal ones share it."""


class Valuation:
    """Confidence h and reward f together.

    Args:
        settings: Those named in ``KEYS``.
        tasks: The tasks of the student, in the order of its columns.
        reward: f in place of the one that the settings ask for.

    Raises:
        PolicyError: Naming the key and the fix; an ExpressionError also the column.
    """

    def __init__(
        self, settings: ScenarioSettings, tasks: TaskSet, reward: RewardFunction | None = None
    ) -> None:
        self._confidence = Confidence(settings, tasks)
        if reward is None:
            self._reward = build_reward(settings.reward, settings.weights, tasks)
        else:
            self._reward = checked_reward(reward)
        self.passes_uncertain: bool = self._confidence.passes_uncertain

    def __call__(
        self, scores_NT: npt.NDArray[np.float32], uncertainties_NT: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Rewards e and the uncertainties that direct passing ranks by, both float32 (N,)."""
        return (
            self._reward(self._confidence(scores_NT, uncertainties_NT)),
            self._confidence.direct(uncertainties_NT),
        )


def valuation_key(settings: ScenarioSettings) -> str:
    """Equal for settings with the same valuation."""
    return settings.model_dump_json(include=set(KEYS))
