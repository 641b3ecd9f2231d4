"""Baseline rankings that need no uncertainty model, and that every method has to beat."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from trainer.uncertainty.method import Float32Array

Control = Callable[[Float32Array, Float32Array, int], Float32Array]


def bernoulli(mean_NT: Float32Array, rates_T: Float32Array, seed: int) -> Float32Array:  # noqa: ARG001
    """Variance of the label itself, p (1 - p)."""
    return mean_NT * (1 - mean_NT)


def base_rate(mean_NT: Float32Array, rates_T: Float32Array, seed: int) -> Float32Array:  # noqa: ARG001
    """1 - |p - rate|: without information, a net predicts the base rate (DAUM, eq. 26)."""
    closeness_NT: Float32Array = 1 - np.abs(mean_NT - rates_T)
    return closeness_NT


def random(mean_NT: Float32Array, rates_T: Float32Array, seed: int) -> Float32Array:  # noqa: ARG001
    """Uniform numbers."""
    return np.random.default_rng(seed).random(mean_NT.shape, np.float32)


CONTROLS: Mapping[str, Control] = MappingProxyType(
    {"bernoulli": bernoulli, "base_rate": base_rate, "random": random}
)
