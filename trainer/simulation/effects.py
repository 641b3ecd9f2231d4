"""Effects of what is observable of a request on the logits of the funnel's steps.

:class:`StandardEffects` are those of the standard market; ``families.py`` and ``channels.py`` have
those of the other ones. All are standardised on a sample, so that scales mean the same everywhere.
"""

from abc import ABC, abstractmethod
from typing import Final

import numpy as np

from trainer.simulation.world import NUMBERS, SIZES, USER_NUMBERS, Float64Array, Scene

STEPS: Final = 4
"""Steps of the funnel: click, online, cart, deal."""

MAIN: dict[str, float] = {
    "item": 0.1,
    "publisher": 0.2,
    "category": 0.45,
    "exchange": 0.35,
    "app": 0.2,
    "hops": 0.15,
    "format": 0.25,
    "size": 0.25,
    "pos": 0.35,
    "plcmt": 0.25,
    "instl": 0.3,
    "deal": 0.25,
    "make": 0.2,
    "tier": 0.2,
    "devicetype": 0.25,
    "os": 0.2,
    "city": 0.08,
    "region": 0.15,
    "country": 0.15,
    "carrier": 0.1,
    "connection": 0.2,
    "hour": 0.25,
    "weekday": 0.1,
    "known": 0.3,
    "gender": 0.15,
    "age": 0.25,
    "level": 0.35,
    "interest": 0.3,
}
"""Standard deviation of each code's main effects."""
CROSSES: dict[tuple[str, str], float] = {
    ("interest", "category"): 0.18,
    ("hour", "devicetype"): 0.12,
    ("tier", "level"): 0.2,
    ("size", "pos"): 0.12,
    ("exchange", "format"): 0.1,
    ("age", "gender"): 0.1,
    ("format", "devicetype"): 0.15,
}
"""Standard deviation of the effects of pairs of codes."""
POOR_CROSS = 0.7
"""Standard deviation of the effects of a data-poor cell (operating system, category)."""
SIGNS: dict[str, tuple[float, float, float, float]] = {
    "clicks_7d": (0.6, 0.2, 0.2, 0.1),
    "clicks_30d": (0.4, 0.2, 0.1, 0.1),
    "ctr_user": (0.5, 0.1, 0.1, 0.0),
    "sec_since_click": (-0.4, -0.2, -0.1, 0.0),
    "visits_30d": (0.2, 0.6, 0.2, 0.1),
    "sec_since_visit": (-0.1, -0.4, -0.3, -0.1),
    "carts_7d": (0.1, 0.2, 0.8, 0.3),
    "carts_30d": (0.1, 0.1, 0.5, 0.3),
    "sec_since_cart": (0.0, -0.1, -0.4, -0.3),
    "orders_90d": (0.1, 0.2, 0.3, 0.8),
    "spend_90d": (0.0, 0.1, 0.2, 0.5),
    "ctr_tag": (0.7, 0.1, -0.1, 0.0),
    "session_depth": (-0.4, -0.2, -0.1, -0.1),
    "session_s": (0.2, 0.4, 0.2, 0.1),
}
"""Fixed weights of numbers, one per step; a random weight is added to each."""
NUMBERS_SD = 1.1
"""Standard deviation of the effects of all numbers together."""
_RATES = ("ctr_user", "cvr_user", "cart_rate_user", "ctr_site", "ctr_tag")
_OFFSETS_K = np.array([0.002 if name in _RATES else 1.0 for name in NUMBERS])


class Numbers:
    """Numbers of a scene on a logarithmic scale, standardised on a sample.

    Args:
        sample: Scene on which numbers have mean 0 and standard deviation 1.
    """

    def __init__(self, sample: Scene) -> None:
        plain_NK = _plain(sample)
        self._centre_K, self._spread_K = plain_NK.mean(axis=0), plain_NK.std(axis=0)

    def scaled(self, scene: Scene) -> Float64Array:
        """Numbers in the order of ``NUMBERS``, float64 (N, K) within [-3, 3]; 0 if unknown."""
        scaled_NK = np.clip((_plain(scene) - self._centre_K) / self._spread_K, -3.0, 3.0)
        scaled_NK[:, : len(USER_NUMBERS)] *= scene.codes["known"][:, None]
        return np.asarray(scaled_NK)


class Effects(ABC):
    """Effects that map a scene to the logits of the steps, standardised on a sample.

    A subclass draws its effects in its constructor and then calls :meth:`_standardise`.

    Args:
        sample: Scene on which numbers have mean 0 and standard deviation 1.
    """

    def __init__(self, sample: Scene) -> None:
        self.numbers = Numbers(sample)
        self._mean_T, self._std_T = np.zeros(STEPS), np.ones(STEPS)

    def logits(self, scene: Scene) -> Float64Array:
        """Logits of the four steps, float64 (N, 4)."""
        return np.asarray((self._raw(scene) - self._mean_T) / self._std_T)

    def _standardise(self, sample: Scene) -> None:
        raw_NT = self._raw(sample)
        self._mean_T, self._std_T = raw_NT.mean(axis=0), raw_NT.std(axis=0)

    @abstractmethod
    def _raw(self, scene: Scene) -> Float64Array:
        """Logits before they are standardised, float64 (N, 4)."""


class StandardEffects(Effects):
    """Main effects of codes and numbers, a few pairs, two curves, and data-poor cells of their own.

    Args:
        rng: Generator of the effects.
        sample: Scene on which numbers and logits have mean 0 and standard deviation 1.
    """

    def __init__(self, rng: np.random.Generator, sample: Scene) -> None:
        super().__init__(sample)
        self._main = {key: rng.normal(0.0, sd, (SIZES[key], STEPS)) for key, sd in MAIN.items()}
        self._crosses = {
            (a, b): rng.normal(0.0, sd, (SIZES[a] * SIZES[b], STEPS))
            for (a, b), sd in CROSSES.items()
        }
        self._poor = rng.normal(0.0, POOR_CROSS, (SIZES["os"] * SIZES["category"], STEPS))
        self._weights_KT = np.array([SIGNS.get(name, (0.0,) * STEPS) for name in NUMBERS])
        self._weights_KT += rng.normal(0.0, 0.12, self._weights_KT.shape)
        self._bumps_T = rng.normal(0.0, 0.2, STEPS)
        self._products_T = rng.normal(0.0, 0.12, STEPS)
        scaled_NK = self.numbers.scaled(sample)
        self._weights_KT *= NUMBERS_SD / (scaled_NK @ self._weights_KT).std(axis=0)
        self._standardise(sample)

    def _raw(self, scene: Scene) -> Float64Array:
        codes = scene.codes
        total_NT = np.zeros((len(scene), STEPS))
        for key, table in self._main.items():
            total_NT += table[codes[key]]
        for (a, b), table in self._crosses.items():
            total_NT += table[codes[a] * SIZES[b] + codes[b]]
        scaled_NK = self.numbers.scaled(scene)
        poor_N1 = scene.data_poor[:, None]
        numeric_NT = scaled_NK @ self._weights_KT
        total_NT += np.where(poor_N1, 0.25 * numeric_NT, numeric_NT)
        own_NT = self._poor[codes["os"] * SIZES["category"] + codes["category"]]
        total_NT += np.where(poor_N1, own_NT, 0.0)
        recency_N = scaled_NK[:, NUMBERS.index("sec_since_order")]
        total_NT += np.exp(-2 * (recency_N - 0.3) ** 2)[:, None] * self._bumps_T
        product_N = scaled_NK[:, NUMBERS.index("bidfloor")] * scaled_NK[:, NUMBERS.index("ctr_tag")]
        total_NT += product_N[:, None] * self._products_T
        return total_NT


def _plain(scene: Scene) -> Float64Array:
    """Numbers on a logarithmic scale, float64 (N, K)."""
    numbers_NK = np.stack([scene.numbers[name] for name in NUMBERS], axis=1)
    return np.asarray(np.log(numbers_NK + _OFFSETS_K))
