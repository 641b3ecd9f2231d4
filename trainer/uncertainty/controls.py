"""What needs no uncertainty model: rankings that every method has to beat."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from trainer.uncertainty.method import Floats

Control = Callable[[Floats, Floats, int], Floats]


def bernoulli(mean_NT: Floats, rates_T: Floats, seed: int) -> Floats:  # noqa: ARG001
    """Variance of the label itself, p (1 - p)."""
    return mean_NT * (1 - mean_NT)


def base_rate(mean_NT: Floats, rates_T: Floats, seed: int) -> Floats:  # noqa: ARG001
    """1 - |p - rate|: a net that knows nothing of a request says the base rate (DAUM, eq. 26)."""
    closeness_NT: Floats = 1 - np.abs(mean_NT - rates_T)
    return closeness_NT


def random(mean_NT: Floats, rates_T: Floats, seed: int) -> Floats:  # noqa: ARG001
    """Uniform numbers."""
    return np.random.default_rng(seed).random(mean_NT.shape, np.float32)


CONTROLS: Mapping[str, Control] = MappingProxyType(
    {"bernoulli": bernoulli, "base_rate": base_rate, "random": random}
)
