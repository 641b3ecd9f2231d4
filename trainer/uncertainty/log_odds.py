"""Conversions between probabilities and their log odds."""

import numpy as np
import torch

from models.nets.logistic_normal import sigmoid_moments
from trainer.uncertainty.method import Float32Array


def logits(scores_NT: Float32Array) -> Float32Array:
    """Log odds of probabilities, clipped to [1e-6, 1 - 1e-6]."""
    held_NT = np.clip(scores_NT.astype(np.float64), 1e-6, 1 - 1e-6)
    logits_NT: Float32Array = np.log(held_NT / (1 - held_NT)).astype(np.float32)
    return logits_NT


def spread_of(mean_NT: Float32Array, logit_std_NT: Float32Array) -> Float32Array:
    """Standard deviation of the sigmoid of a normal logit that is centred at the mean's logit."""
    _, std_NT = sigmoid_moments(
        torch.from_numpy(logits(mean_NT)), torch.from_numpy(logit_std_NT.astype(np.float32)) ** 2
    )
    spread_NT: Float32Array = std_NT.numpy()
    return spread_NT
