import numpy as np
import pytest
import torch
from torch import Tensor

from models.nets.config import Target
from models.nets.scale import build_scale, mean_matching

TARGETS = ("mean", "log_variance", "rank", "quantile")


def skewed(rows: int = 1000) -> Tensor:
    """Standard deviations of two tasks, one of them with a long tail."""
    torch.manual_seed(3)
    return torch.stack([0.02 * torch.rand(rows), (torch.randn(rows) - 5).exp()], dim=1)


def learned(target: Target, std_NT: Tensor) -> Tensor:
    """What the head gives once its loss is as small as it gets, back in the teacher's unit."""
    scale = build_scale(target, torch.rand(len(std_NT), 2), std_NT)
    raw_NT = scale.start(std_NT).repeat(len(std_NT), 1).requires_grad_()
    optimizer = torch.optim.Adam([raw_NT], lr=0.2)
    for _ in range(250):
        optimizer.zero_grad()
        (len(std_NT) * scale.loss(raw_NT, std_NT)).backward()
        optimizer.step()
    with torch.no_grad():
        return scale(raw_NT)


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_learned_exactly_comes_back_as_it_was(target: Target) -> None:
    """A head without error gives the teacher's standard deviations, but for the farthest tail."""
    std_NT = skewed()
    inside_NT = (std_NT > std_NT.quantile(0.05, 0)) & (std_NT < std_NT.quantile(0.99, 0))
    back_NT = learned(target, std_NT)
    distance_NT = (back_NT - std_NT).abs() / std_NT
    assert distance_NT[inside_NT].mean() < 0.02
    assert distance_NT[inside_NT].max() < 0.5


@pytest.mark.parametrize("target", TARGETS)
def test_the_way_back_never_turns_the_order_round(target: Target) -> None:
    """A larger raw output never means a smaller uncertainty, and none is negative."""
    scale = build_scale(target, torch.rand(1000, 2), skewed())
    back_NT = scale(torch.linspace(-6, 6, 500).unsqueeze(1).expand(-1, 2))
    assert (back_NT.diff(dim=0) >= 0).all()
    assert (back_NT >= 0).all()
    assert (back_NT[-1] > back_NT[0]).all()


def test_matching_gives_the_teachers_distribution() -> None:
    """Whatever a head makes of the ranks, its own quantiles become the teacher's."""
    std_NT = skewed()
    scale = build_scale("quantile", torch.rand(1000, 2), std_NT)
    raw_NT = 0.3 * torch.randn(1000, 2) - 1
    back_NT = scale.matched(raw_NT, std_NT)(raw_NT)
    for share in (0.1, 0.5, 0.9, 0.99):
        wanted_T, found_T = std_NT.quantile(share, 0), back_NT.quantile(share, 0)
        np.testing.assert_allclose(found_T, wanted_T, rtol=0.1)


def test_constant_uncertainty_is_no_error() -> None:
    """A teacher that is equally unsure about everything gives a finite, constant scale."""
    for target in TARGETS:
        scale = build_scale(target, torch.rand(100, 2), torch.full((100, 2), 0.03))
        back_NT = scale(scale.start(torch.full((100, 2), 0.03)).unsqueeze(0))
        np.testing.assert_allclose(back_NT, 0.03, rtol=1e-3)


def test_mean_matching_brings_uncertainty_to_the_labels_mean() -> None:
    """Scaled uncertainties have the labels' mean per task; constant zeros stay as they are."""
    uncertainties_NT = torch.tensor([[0.01, 0.0], [0.03, 0.0]])
    factor_T = mean_matching(uncertainties_NT, torch.tensor([0.6, 0.02]))
    np.testing.assert_allclose(factor_T, [30.0, 1.0], rtol=1e-6)


@pytest.mark.parametrize("target", TARGETS)
def test_a_weighted_row_counts_as_so_many(target: Target) -> None:
    """The loss with weights 1 and 3 is that of the rows with three copies of the others."""
    std_NT, raw_NT = skewed(200), torch.randn(200, 2)
    scale = build_scale(target, torch.rand(200, 2), std_NT)
    weights_N = torch.where(torch.arange(200) % 2 == 0, 1.0, 3.0)
    copies_N = torch.arange(200).repeat_interleave(weights_N.long())
    found = scale.loss(raw_NT, std_NT, weights_N)
    torch.testing.assert_close(found, scale.loss(raw_NT[copies_N], std_NT[copies_N]))
