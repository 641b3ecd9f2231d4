"""Heads: the meaning of a net's outputs per task, that is their initial values, loss and moments.

N requests, T tasks, O outputs per task.
"""

import math
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from models.nets.logistic_normal import log_sigmoid_mean, sigmoid_moments
from models.nets.losses import bce_by_task, masked_mean

START_VARIANCE = 0.25
START_EVIDENCE = 1.25
ANNEALING_EPOCHS = 10


class Head(Protocol):
    """The meaning of a net's O outputs per task."""

    size: int
    """O, the number of outputs per task."""

    def start(self, rates_T: Tensor) -> Tensor:
        """Initial outputs (T, O), which predict the base rates."""

    def losses(
        self,
        outputs_NTO: Tensor,
        targets_NT: Tensor,
        epochs: float,
        weights_N: Tensor | None = None,
    ) -> Tensor:
        """Loss per task, (T,).

        Args:
            outputs_NTO: The net's outputs.
            targets_NT: Labels; NaN where masked.
            epochs: Number of epochs trained so far.
            weights_N: Number of requests that each row represents; None for 1.
        """

    def moments(self, outputs_NTO: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the probability, each (N, T)."""


class LogitHead:
    """One output, the logit, trained with cross-entropy; it has no uncertainty."""

    size = 1

    def start(self, rates_T: Tensor) -> Tensor:
        """The logits of the base rates."""
        return rates_T.logit().unsqueeze(1)

    def losses(
        self,
        outputs_NTO: Tensor,
        targets_NT: Tensor,
        epochs: float,  # noqa: ARG002
        weights_N: Tensor | None = None,
    ) -> Tensor:
        """Cross-entropy per task."""
        return bce_by_task(outputs_NTO[:, :, 0], targets_NT, weights_N)

    def moments(self, outputs_NTO: Tensor) -> tuple[Tensor, Tensor]:
        """The probability, and a standard deviation of 0."""
        mean_NT = outputs_NTO[:, :, 0].sigmoid()
        return mean_NT, torch.zeros_like(mean_NT)


class GaussianHead:
    """Two outputs: mean and log-variance of a normal logit (Kendall & Gal 2017, section 3.3).

    Their loss is the negative log of the mean likelihood over draws of the logit (eq. 12); here
    quadrature replaces the draws. Binary labels only determine E[sigmoid(z)], so the variance is
    whatever is convenient for the net to reach it, for which this method is criticised.
    """

    size = 2

    def start(self, rates_T: Tensor) -> Tensor:
        """The logits of the base rates, and a small variance."""
        variance_T = torch.full_like(rates_T, math.log(START_VARIANCE))
        return torch.stack([rates_T.logit(), variance_T], dim=1)

    def losses(
        self,
        outputs_NTO: Tensor,
        targets_NT: Tensor,
        epochs: float,  # noqa: ARG002
        weights_N: Tensor | None = None,
    ) -> Tensor:
        """Cross-entropy of the mean probability."""
        mean_NT, variance_NT = outputs_NTO[:, :, 0], outputs_NTO[:, :, 1].exp()
        happened_NT = log_sigmoid_mean(mean_NT, variance_NT)
        not_NT = log_sigmoid_mean(-mean_NT, variance_NT)
        return masked_mean(
            lambda labels_NT: -labels_NT * happened_NT - (1 - labels_NT) * not_NT,
            targets_NT,
            weights_N,
        )

    def moments(self, outputs_NTO: Tensor) -> tuple[Tensor, Tensor]:
        """Moments of the sigmoid of the normal logit."""
        return sigmoid_moments(outputs_NTO[:, :, 0], outputs_NTO[:, :, 1].exp())


class EvidentialHead:
    """Two outputs: evidence for and against, the counts of a Beta (EDL, Sensoy et al. 2018).

    alpha = softplus(output) + 1 for both classes, S their sum, p = alpha_1 / S. The loss is their
    equation 5, the expected squared error (y - p)^2 + p (1 - p) / (S + 1) of both classes, plus
    the divergence from the uniform Beta after the evidence for the truth is removed, whose weight
    grows to 1 over ten epochs.
    """

    size = 2

    def start(self, rates_T: Tensor) -> Tensor:
        """The least evidence that predicts the base rates."""
        both_T2 = torch.stack([rates_T, 1 - rates_T], dim=1)
        evidence_T2 = START_EVIDENCE * both_T2 / both_T2.amin(1, keepdim=True) - 1
        return evidence_T2.expm1().log()

    def losses(
        self,
        outputs_NTO: Tensor,
        targets_NT: Tensor,
        epochs: float,
        weights_N: Tensor | None = None,
    ) -> Tensor:
        """Expected squared error and annealed divergence."""
        alpha_NT2 = functional.softplus(outputs_NTO) + 1
        total_NT = alpha_NT2.sum(2)
        mean_NT = alpha_NT2[:, :, 0] / total_NT
        weight = min(1.0, epochs / ANNEALING_EPOCHS)

        def loss(labels_NT: Tensor) -> Tensor:
            error_NT = (labels_NT - mean_NT) ** 2 + mean_NT * (1 - mean_NT) / (total_NT + 1)
            both_NT2 = torch.stack([labels_NT, 1 - labels_NT], dim=2)
            misleading_NT2 = both_NT2 + (1 - both_NT2) * alpha_NT2
            return 2 * error_NT + weight * _divergence_from_uniform(misleading_NT2)

        return masked_mean(loss, targets_NT, weights_N)

    def moments(self, outputs_NTO: Tensor) -> tuple[Tensor, Tensor]:
        """Moments of the Beta; its variance is p (1 - p) / (S + 1)."""
        alpha_NT2 = functional.softplus(outputs_NTO) + 1
        total_NT = alpha_NT2.sum(2)
        mean_NT = alpha_NT2[:, :, 0] / total_NT
        return mean_NT, (mean_NT * (1 - mean_NT) / (total_NT + 1)).sqrt()


def _divergence_from_uniform(alpha_NT2: Tensor) -> Tensor:
    """KL(Beta(alpha) || Beta(1, 1)), (N, T)."""
    total_NT1 = alpha_NT2.sum(2, keepdim=True)
    shift_NT2 = alpha_NT2.digamma() - total_NT1.digamma()
    return (
        total_NT1.squeeze(2).lgamma()
        - alpha_NT2.lgamma().sum(2)
        + ((alpha_NT2 - 1) * shift_NT2).sum(2)
    )


LOGIT = LogitHead()
GAUSSIAN = GaussianHead()
EVIDENTIAL = EvidentialHead()
