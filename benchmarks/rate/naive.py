"""Common controllers to compare with, each with the one parameter that is tuned in practice.

None of them has a debt: they estimate a threshold, and the rate follows from it.
"""

import math

import numpy as np

from benchmarks.rate.traffic import Bools, Floats


class Fixed:
    """A threshold that is estimated from the first requests and never updated.

    Args:
        rate: Share to intercept.
        requests: Number of requests it is estimated from.
    """

    def __init__(self, rate: float, requests: int) -> None:
        self._rate, self._requests = rate, requests
        self._first: list[float] = []
        self._threshold = -math.inf

    def passes(self, score_N: Floats) -> Bools:
        """Whether each of the next N requests passes."""
        passed_N = score_N > self._threshold
        if len(self._first) < self._requests:
            self._first += score_N.tolist()
            self._threshold = float(np.quantile(self._first, self._rate))
        return passed_N


class PSquare:
    """The P-square estimate of the quantile (Jain and Chlamtac, 1985), restarted periodically.

    Args:
        rate: Share to intercept.
        requests: Requests between two restarts; until an estimate is ready the previous one serves.
    """

    def __init__(self, rate: float, requests: int) -> None:
        self._rate, self._requests = rate, requests
        self._restart()
        self._threshold = -math.inf

    def passes(self, score_N: Floats) -> Bools:
        """Whether each of the next N requests passes."""
        passed_N = np.empty(len(score_N), np.bool_)
        for index, score in enumerate(score_N.tolist()):
            passed_N[index] = score > self._threshold
            self._add(score)
        return passed_N

    def _restart(self) -> None:
        self._seen = 0
        self._heights: list[float] = []
        self._places = [1.0, 2.0, 3.0, 4.0, 5.0]

    def _add(self, value: float) -> None:
        self._seen += 1
        heights, places, p = self._heights, self._places, self._rate
        if self._seen <= 5:
            heights.append(value)
            heights.sort()
            return
        heights[0], heights[4] = min(heights[0], value), max(heights[4], value)
        cell = max(k for k in range(4) if heights[k] <= value or k == 0)
        for k in range(cell + 1, 5):
            places[k] += 1
        for k, part in ((1, p / 2), (2, p), (3, (1 + p) / 2)):
            off = 1 + (self._seen - 1) * part - places[k]
            below, above = places[k] - places[k - 1], places[k + 1] - places[k]
            if (off >= 1 and above > 1) or (off <= -1 and below > 1):
                self._move(k, 1 if off > 0 else -1, below, above)
        if self._seen >= min(self._requests, 100):
            self._threshold = heights[2]
        if self._seen >= self._requests:
            self._restart()

    def _move(self, k: int, step: int, below: float, above: float) -> None:
        heights, places = self._heights, self._places
        up = (heights[k + 1] - heights[k]) / above
        down = (heights[k] - heights[k - 1]) / below
        moved = heights[k] + step / (above + below) * ((below + step) * up + (above - step) * down)
        if heights[k - 1] < moved < heights[k + 1]:
            heights[k] = moved
        else:
            heights[k] += step * (up if step > 0 else down)
        places[k] += step


class TDigest:
    """The quantile of a merging t-digest (Dunning, 2019) over the last requests, uncorrected.

    Args:
        rate: Share to intercept.
        requests: Length of the window, as two digests of half of it that are merged at each update.
    """

    COMPRESSION = 100

    def __init__(self, rate: float, requests: int) -> None:
        self._rate, self._half = rate, requests // 2
        self._digests = [np.empty((0, 2)), np.empty((0, 2))]
        self._threshold = -math.inf

    def passes(self, score_N: Floats) -> Bools:
        """Whether each of the next N requests passes."""
        passed_N = score_N > self._threshold
        added_N2 = np.stack([score_N, np.ones(len(score_N))], axis=1)
        self._digests[1] = self._merge(self._digests[1], added_N2)
        both_K2 = self._merge(*self._digests)
        middle_K = np.cumsum(both_K2[:, 1]) - both_K2[:, 1] / 2
        rank = self._rate * both_K2[:, 1].sum()
        self._threshold = float(np.interp(rank, middle_K, both_K2[:, 0]))
        if self._digests[1][:, 1].sum() >= self._half:
            self._digests = [self._digests[1], np.empty((0, 2))]
        return passed_N

    def _merge(self, *centroids: Floats) -> Floats:
        """Merge neighbouring centroids that lie within one unit of the scale k1."""
        all_M2 = np.concatenate(centroids)
        all_M2 = all_M2[np.argsort(all_M2[:, 0], kind="stable")]
        weight_M = all_M2[:, 1]
        middle_M = (np.cumsum(weight_M) - weight_M / 2) / weight_M.sum()
        scale_M = self.COMPRESSION / (2 * math.pi) * np.arcsin(2 * middle_M - 1)
        first_K = np.flatnonzero(np.diff(np.floor(scale_M), prepend=-math.inf))
        weight_K = np.add.reduceat(weight_M, first_K)
        mean_K = np.add.reduceat(all_M2[:, 0] * weight_M, first_K) / weight_K
        return np.stack([mean_K, weight_K], axis=1)


class PID:
    """PID control of the threshold by the share intercepted of each 512 requests.

    Args:
        rate: Share to intercept.
        gain: Proportional gain, in scores per share; the integral one is a third of it per step,
            the differential one a tenth.
    """

    def __init__(self, rate: float, gain: float) -> None:
        self._rate, self._gain = rate, gain
        self._sum = self._before = 0.0
        self._threshold = 0.05

    def passes(self, score_N: Floats) -> Bools:
        """Whether each of the next N requests passes."""
        passed_N = score_N > self._threshold
        error = float(passed_N.mean()) - (1 - self._rate)
        self._sum += error
        slope, self._before = error - self._before, error
        self._threshold = 0.05 + self._gain * (error + self._sum / 3 + slope / 10)
        return passed_N


class Thinning:
    """Passes at random, whatever the scores."""

    def __init__(self, rate: float, seed: int) -> None:
        self._rate = rate
        self._generator = np.random.default_rng(seed)

    def passes(self, score_N: Floats) -> Bools:
        """Whether each of the next N requests passes."""
        return self._generator.random(len(score_N)) >= self._rate
