"""Targets of the student's uncertainty head, and their inverses.

The teacher's standard deviations u are small and skewed. DAUM (section III-E) scales them to the
mean of the labels. Whether that gives the best order of the most uncertain requests is an open
question, so there are alternatives to compare with:

- ``mean``: u times a factor per task; the head predicts its expectation.
- ``log_variance``: log u^2, standardised per task; the inverse is exp.
- ``rank``: the share of requests with a smaller u; the inverse is the teacher's quantile function.
- ``quantile``: the normal score of that rank; the inverse maps the student's own quantiles to the
  teacher's, so that both have the same distribution.

N requests, T tasks, K knots of a piecewise linear function.
"""

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.config import Target
from models.nets.losses import poisson_deviance, row_mean

KNOTS = (*(knot / 32 for knot in range(32)), 0.98, 0.99, 0.995, 0.999, 1.0)
"""Knots of quantile functions: evenly spaced, and denser where uncertainty is high."""
FLOOR = 1e-6
"""Lower limit of standard deviations before the logarithm is taken."""
GAP = 1e-4
"""Minimum distance of knots; a steeper function would amplify rounding errors."""
SQUARES = 0.1
"""Weight of squared errors (in units of the target's spread) relative to cross-entropies."""
NORMAL_LIMIT = 1e-3
"""Minimum distance of ranks from 0 and 1, which limits normal scores to +-3.1."""


class UncertaintyScale(nn.Module):
    """Conversion between the head's raw outputs and the teacher's standard deviations."""

    def start(self, std_NT: Tensor) -> Tensor:
        """Initial raw outputs (T,), those of an average request."""
        raise NotImplementedError

    def loss(self, raw_NT: Tensor, std_NT: Tensor, weights_N: Tensor | None = None) -> Tensor:
        """Loss of raw outputs for the teacher's standard deviations, summed over tasks.

        Args:
            raw_NT: Raw outputs of the head.
            std_NT: The teacher's standard deviations.
            weights_N: Weights of the rows; None if all are equal.
        """
        raise NotImplementedError

    def forward(self, raw_NT: Tensor) -> Tensor:
        """Standard deviations from raw outputs; both (N, T)."""
        raise NotImplementedError

    def matched(self, raw_NT: Tensor, std_NT: Tensor) -> "UncertaintyScale":
        """The scale calibrated on the trained head's outputs ``raw_NT`` for ``std_NT``."""
        del raw_NT, std_NT
        return self


class MeanScale(UncertaintyScale):
    """u times a factor per task (DAUM, section III-E)."""

    factor_T: Tensor

    def __init__(self, factor_T: Tensor) -> None:
        super().__init__()
        self.register_buffer("factor_T", factor_T)

    def start(self, std_NT: Tensor) -> Tensor:
        """The value whose softplus is the mean."""
        mean_T = (std_NT.mean(0) * self.factor_T).clamp(min=1e-4)
        return mean_T.expm1().log()

    def loss(self, raw_NT: Tensor, std_NT: Tensor, weights_N: Tensor | None = None) -> Tensor:
        """Poisson deviance, minimal where the prediction is the expectation."""
        return poisson_deviance(functional.softplus(raw_NT), std_NT * self.factor_T, weights_N)

    def forward(self, raw_NT: Tensor) -> Tensor:
        """Softplus, divided by the factor."""
        return functional.softplus(raw_NT) / self.factor_T


class LogVarianceScale(UncertaintyScale):
    """log u^2, standardised per task."""

    mean_T: Tensor
    spread_T: Tensor

    def __init__(self, std_NT: Tensor) -> None:
        super().__init__()
        log_NT = _log_variance(std_NT)
        self.register_buffer("mean_T", log_NT.mean(0))
        self.register_buffer("spread_T", log_NT.std(0).clamp(min=GAP))

    def start(self, std_NT: Tensor) -> Tensor:
        """The mean, 0 after standardisation."""
        return torch.zeros(std_NT.shape[1])

    def loss(self, raw_NT: Tensor, std_NT: Tensor, weights_N: Tensor | None = None) -> Tensor:
        """Squared error."""
        wanted_NT = (_log_variance(std_NT) - self.mean_T) / self.spread_T
        return SQUARES * row_mean((raw_NT - wanted_NT).square(), weights_N).sum()

    def forward(self, raw_NT: Tensor) -> Tensor:
        """Exponential of half the log-variance."""
        return (raw_NT * (self.spread_T / 2) + self.mean_T / 2).exp()


class PiecewiseScale(UncertaintyScale):
    """A scale whose inverse is non-decreasing and piecewise linear, per task.

    It is constant below the first knot, and extrapolated above the last one.

    Args:
        inputs_KT: Knots; they are moved apart if they are too close.
        outputs_KT: Non-decreasing values there.
    """

    start_TK: Tensor
    slope_TK: Tensor
    most_K: Tensor
    rise_TK: Tensor
    first_T: Tensor

    def __init__(self, inputs_KT: Tensor, outputs_KT: Tensor) -> None:
        super().__init__()
        steps_K1 = torch.arange(len(inputs_KT)).unsqueeze(1) * GAP
        inputs_KT = (inputs_KT - steps_K1).cummax(0).values + steps_K1
        self.register_buffer("start_TK", inputs_KT[:-1].T.contiguous())
        self.register_buffer("slope_TK", 1 / inputs_KT.diff(dim=0).T)
        most_K = torch.ones(len(inputs_KT) - 1)
        most_K[-1] = torch.inf
        self.register_buffer("most_K", most_K)
        self.register_buffer("rise_TK", outputs_KT.diff(dim=0).T.contiguous())
        self.register_buffer("first_T", outputs_KT[0].clone())

    def squashed(self, raw_NT: Tensor) -> Tensor:
        """Raw outputs on the axis of the knots."""
        return raw_NT

    def forward(self, raw_NT: Tensor) -> Tensor:
        """Sum of the rises up to the input; no summand is negative, so there is no cancellation."""
        x_NT1 = self.squashed(raw_NT).unsqueeze(2)
        share_NTK = ((x_NT1 - self.start_TK) * self.slope_TK).clamp(min=0).minimum(self.most_K)
        return (share_NTK * self.rise_TK).sum(2) + self.first_T


class RankScale(PiecewiseScale):
    """The share of requests with a smaller u."""

    quantiles_KT: Tensor
    knots_K: Tensor

    def __init__(self, std_NT: Tensor) -> None:
        knots_K = torch.tensor(KNOTS)
        quantiles_KT = torch.quantile(std_NT, knots_K, dim=0)
        super().__init__(knots_K.unsqueeze(1).expand_as(quantiles_KT), quantiles_KT)
        self.register_buffer("quantiles_KT", quantiles_KT)
        self.register_buffer("knots_K", knots_K)

    def squashed(self, raw_NT: Tensor) -> Tensor:
        """Shares, the sigmoid of raw outputs."""
        return raw_NT.sigmoid()

    def start(self, std_NT: Tensor) -> Tensor:
        """The median."""
        return torch.zeros(std_NT.shape[1])

    def loss(self, raw_NT: Tensor, std_NT: Tensor, weights_N: Tensor | None = None) -> Tensor:
        """Cross-entropy, minimal where the prediction is the expected rank."""
        ranks_NT = ranks(std_NT, self.quantiles_KT, self.knots_K)
        losses_NT = functional.binary_cross_entropy_with_logits(raw_NT, ranks_NT, reduction="none")
        return row_mean(losses_NT, weights_N).sum()


class QuantileScale(PiecewiseScale):
    """The normal score of the rank."""

    quantiles_KT: Tensor
    knots_K: Tensor

    def __init__(self, std_NT: Tensor, inputs_KT: Tensor | None = None) -> None:
        knots_K = torch.tensor(KNOTS)
        quantiles_KT = torch.quantile(std_NT, knots_K, dim=0)
        if inputs_KT is None:
            inputs_KT = normal_scores(knots_K).unsqueeze(1).expand_as(quantiles_KT)
        super().__init__(inputs_KT, quantiles_KT)
        self.register_buffer("quantiles_KT", quantiles_KT)
        self.register_buffer("knots_K", knots_K)

    def start(self, std_NT: Tensor) -> Tensor:
        """The median."""
        return torch.zeros(std_NT.shape[1])

    def loss(self, raw_NT: Tensor, std_NT: Tensor, weights_N: Tensor | None = None) -> Tensor:
        """Squared error."""
        wanted_NT = normal_scores(ranks(std_NT, self.quantiles_KT, self.knots_K))
        return SQUARES * row_mean((raw_NT - wanted_NT).square(), weights_N).sum()

    def matched(self, raw_NT: Tensor, std_NT: Tensor) -> Self:
        """The scale that maps the head's own quantiles to the teacher's."""
        return type(self)(std_NT, torch.quantile(raw_NT, self.knots_K, dim=0))


def build_scale(target: Target, mean_NT: Tensor, std_NT: Tensor) -> UncertaintyScale:
    """The scale of a target.

    Args:
        target: The target of the head.
        mean_NT: The teacher's probabilities, to whose means ``mean`` scales.
        std_NT: The teacher's standard deviations for the same requests.
    """
    match target:
        case "mean":
            return MeanScale(mean_matching(std_NT, mean_NT.mean(0)))
        case "log_variance":
            return LogVarianceScale(std_NT)
        case "rank":
            return RankScale(std_NT)
        case "quantile":
            return QuantileScale(std_NT)


def mean_matching(uncertainties_NT: Tensor, labels_T: Tensor) -> Tensor:
    """Factor per task that scales the mean uncertainty to the mean label; 1 if either is 0."""
    means_T = uncertainties_NT.double().mean(0)
    usable_T = (means_T > 0) & (labels_T > 0)
    ratio_T = labels_T.double() / means_T.clamp(min=torch.finfo(torch.float64).tiny)
    return torch.where(usable_T, ratio_T, torch.ones_like(ratio_T)).float()


def ranks(std_NT: Tensor, quantiles_KT: Tensor, knots_K: Tensor) -> Tensor:
    """Share of requests with a smaller u, linear between the quantiles."""
    values_TK = quantiles_KT.T.contiguous()
    above_TN = torch.searchsorted(values_TK, std_NT.T.contiguous())
    above_TN = above_TN.clamp(1, len(knots_K) - 1)
    low_TN, high_TN = values_TK.gather(1, above_TN - 1), values_TK.gather(1, above_TN)
    tiny = torch.finfo(std_NT.dtype).tiny
    within_TN = ((std_NT.T - low_TN) / (high_TN - low_TN).clamp(min=tiny)).clamp(0, 1)
    low_rank_TN = knots_K[above_TN - 1]
    return (low_rank_TN + within_TN * (knots_K[above_TN] - low_rank_TN)).T


def normal_scores(ranks: Tensor) -> Tensor:
    """Quantiles of the normal distribution at these ranks."""
    scores: Tensor = torch.special.ndtri(ranks.clamp(NORMAL_LIMIT, 1 - NORMAL_LIMIT))
    return scores


def _log_variance(std_NT: Tensor) -> Tensor:
    return 2 * std_NT.clamp(min=FLOOR).log()
