"""Weights that undo the policy's selection: inverse propensities, clipped.

The policy passes a request surely, or, by exploration, with a probability that it logs: the
propensity. A row weighted by 1 / propensity stands for all requests like it, passed and blocked, so
a weighted mean over the rows that passed is an unbiased estimate over all requests, as long as
every request can pass (Horvitz and Thompson 1952). Large weights make it noisy; clipping them
trades that for a bias towards what passes surely (Strehl et al. 2010; Bottou et al. 2013).
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Doubles = npt.NDArray[np.float64]


def selection_weights(propensity_N: Doubles, clip: float) -> npt.NDArray[np.float32]:
    """Weights of rows by their clipped inverse propensity, float32 (N,) in [1, clip].

    Args:
        propensity_N: Probability of the decision by which each row was observed; NaN (unknown)
            counts as 1.
        clip: Greatest weight, 1 or more; 1 weighs all rows alike.
    """
    known_N = np.nan_to_num(propensity_N, nan=1.0)
    return np.clip(1.0 / np.clip(known_N, 1.0 / clip, 1.0), 1.0, clip).astype(np.float32)


def explored(propensity_N: Doubles) -> npt.NDArray[np.bool_]:
    """Rows that passed by exploration alone: a sample of what would have been blocked, (N,)."""
    return np.asarray(np.nan_to_num(propensity_N, nan=1.0) < 1.0)


def effective_rows(weights_N: npt.NDArray[np.float32] | Doubles) -> float:
    """Kish's effective sample size, (sum w)^2 / sum w^2; 0 without rows."""
    squares = float(np.square(weights_N, dtype=np.float64).sum())
    return float(weights_N.sum(dtype=np.float64)) ** 2 / squares if squares else 0.0


def loss_weights(counts_K: Tensor, propensities_K: Tensor, clip: float) -> Tensor | None:
    """Weights of rows in a loss: the requests that each represents, times its selection weight.

    Args:
        counts_K: Number of requests that each row represents, 1 or more.
        propensities_K: Probability of the decision by which it was observed; NaN if unknown.
        clip: Greatest weight by inverse propensity.

    Returns:
        float32 (K,), or None where all are equal.
    """
    weights_K = counts_K * torch.from_numpy(selection_weights(propensities_K.numpy(), clip))
    even = len(weights_K) == 0 or bool(weights_K.min() == weights_K.max())
    return None if even else weights_K
