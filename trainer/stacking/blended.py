"""The labeller of the student's rows: the net's score blended with the stacked one.

Per task the log odds of both are averaged with a weight that minimises the log-loss of rows which
neither learned from. The uncertainty stays the net's: the spread of its log odds over SWAG's weight
sets, at the blended score. The stacked models are fitted once and have none, so u says how unsure
the net is, and is too large where the other models know better.

K rows, C columns of ids, T tasks, V held-out rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainer.training.soft_labels import Labeller
from trainer.uncertainty.boosting import MIN_RARER
from trainer.uncertainty.log_odds import logits
from trainer.uncertainty.method import Float32Array, Ids

Doubles = npt.NDArray[np.float64]

SHARES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Weights of the stacked score that are tried."""
UNDECIDED: Final = 0.5
"""Weight where held-out labels are too few."""


class Scorer(Protocol):
    """Predicts probabilities."""

    def predict(self, ids_NC: Ids) -> Float32Array:
        """Probabilities (N, T), each on its task's own population."""


@dataclass(frozen=True)
class BlendedLabeller:
    """A net's and stacked scores.

    Attributes:
        net: Labels rows with the net's probabilities and their spread.
        stacked: The stacked models.
        shares_T: Weight of the stacked log odds.
    """

    net: Labeller
    stacked: Scorer
    shares_T: tuple[float, ...]

    def predict(self, ids_NC: Tensor) -> tuple[Tensor, Tensor]:
        """Blended probabilities, and the net's spread of log odds there; each (N, T)."""
        net_NT, std_NT = self.net.predict(ids_NC)
        stacked_NT = self.stacked.predict(ids_NC.numpy())
        mean_NT = torch.from_numpy(blended(net_NT.numpy(), stacked_NT, self.shares_T))
        slope_NT = mean_NT * (1 - mean_NT) / (net_NT * (1 - net_NT)).clamp(min=1e-6)
        return mean_NT, std_NT * slope_NT

    def redrawn(self, number: int) -> "BlendedLabeller":
        """The same with other weight sets of the net; the stacked models have none."""
        return BlendedLabeller(self.net.redrawn(number), self.stacked, self.shares_T)


def blended(
    net_NT: Float32Array, stacked_NT: Float32Array, shares_T: Sequence[float]
) -> Float32Array:
    """Probabilities of the weighted mean of both log odds."""
    shares = np.asarray(shares_T, np.float32)
    mixed_NT = (1 - shares) * logits(net_NT) + shares * logits(stacked_NT)
    return (1 / (1 + np.exp(-mixed_NT))).astype(np.float32)


def choose_shares(
    net_VT: Float32Array, stacked_VT: Float32Array, targets_VT: Float32Array, counts_V: Doubles
) -> tuple[float, ...]:
    """For each task the weight of the stacked log odds with the least log-loss."""
    found: list[float] = []
    for task, labels_V in enumerate(targets_VT.T):
        known_V = ~np.isnan(labels_V)
        labels_K, counts_K = labels_V[known_V].astype(np.float64), counts_V[known_V]
        positives = labels_K.sum()
        if min(positives, len(labels_K) - positives) < MIN_RARER:
            found.append(UNDECIDED)
            continue
        net_K, stacked_K = (
            logits(scores_VT[known_V, task]).astype(np.float64)
            for scores_VT in (net_VT, stacked_VT)
        )
        losses = []
        for share in SHARES:
            mixed_K = (1 - share) * net_K + share * stacked_K
            losses.append(counts_K @ (np.logaddexp(0, mixed_K) - labels_K * mixed_K))
        found.append(SHARES[int(np.argmin(losses))])
    return tuple(found)
