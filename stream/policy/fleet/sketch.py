"""The distribution of a worker's rewards over several windows, for the fleet's mixture.

One window says what share of a worker's requests is above the common threshold to within 1.5
points; the fleet's split of the passes would follow that noise. The windows before it make it
smaller, and a change of the distribution is in all of them within `WINDOWS` windows.
"""

from collections import deque
from typing import Final

import numpy as np
import numpy.typing as npt

WINDOWS: Final = 8

Floats32 = npt.NDArray[np.float32]


class RewardSketch:
    """Quantiles of the rewards of the last `WINDOWS` windows.

    Args:
        window: Requests of a window.
        quantiles: Most quantiles of the sketch.
    """

    def __init__(self, window: int, quantiles: int) -> None:
        self._window = window
        self._quantiles = quantiles
        self._requests = 0
        self._before: deque[Floats32] = deque(maxlen=WINDOWS - 1)

    def update(self, sample_Q: Floats32, requests: int) -> Floats32:
        """The sketch with the newest window.

        Args:
            sample_Q: Quantiles of the newest window, rising.
            requests: Requests since the last call.

        Returns:
            Quantiles, rising, float32 of shape (Q,).
        """
        rewards_M = np.sort(np.concatenate([*self._before, sample_Q]))
        self._requests += requests
        if self._requests >= self._window:
            self._requests = 0
            self._before.append(sample_Q)
        count = len(rewards_M)
        if count <= self._quantiles:
            return rewards_M
        levels_Q = (np.arange(self._quantiles) + 0.5) / self._quantiles
        return rewards_M[(levels_Q * count).astype(np.intp)]

    def clear(self) -> None:
        """Forget the windows before; other partitions have other rewards."""
        self._before.clear()
        self._requests = 0
