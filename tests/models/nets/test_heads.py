import numpy as np
import pytest
import torch
from torch.distributions import Beta, kl_divergence

from models.nets.heads import EVIDENTIAL, GAUSSIAN, LOGIT, Head, _divergence_from_uniform

HEADS = pytest.mark.parametrize("head", [LOGIT, GAUSSIAN, EVIDENTIAL])
NAN = float("nan")


@HEADS
def test_a_head_starts_at_the_base_rates(head: Head) -> None:
    """The first prediction of every task is near its base rate, common or rare."""
    rates_T = torch.tensor([0.6, 0.02])
    outputs_NTO = head.start(rates_T).unsqueeze(0)
    assert outputs_NTO.shape == (1, 2, head.size)
    mean_NT, std_NT = head.moments(outputs_NTO)
    torch.testing.assert_close(mean_NT[0], rates_T, rtol=0.15, atol=0)
    assert std_NT.max() <= 0.5


@HEADS
def test_masked_labels_have_no_gradient(head: Head) -> None:
    """What is masked leaves outputs untouched, exactly; what is known moves them."""
    outputs_NTO = torch.randn(3, 2, head.size, requires_grad=True)
    targets_NT = torch.tensor([[1.0, NAN], [NAN, 0.0], [NAN, NAN]])
    head.losses(outputs_NTO, targets_NT, 5.0).sum().backward()
    gradient_NTO = outputs_NTO.grad
    assert gradient_NTO is not None
    np.testing.assert_array_equal((gradient_NTO != 0).any(2), ~targets_NT.isnan())


@HEADS
def test_a_row_of_weight_three_is_three_rows(head: Head) -> None:
    """Losses and gradients of weighted rows are those of as many copies, masks included."""
    outputs_NTO = torch.randn(4, 2, head.size, generator=torch.Generator().manual_seed(1))
    targets_NT = torch.tensor([[1.0, NAN], [0.0, 0.0], [1.0, 1.0], [NAN, NAN]])
    copies_N = torch.tensor([1, 3, 2, 4])
    weighted = head.losses(outputs_NTO, targets_NT, 5.0, copies_N.float())
    repeated = head.losses(
        outputs_NTO.repeat_interleave(copies_N, 0), targets_NT.repeat_interleave(copies_N, 0), 5.0
    )
    torch.testing.assert_close(weighted, repeated)


def test_spread_falls_with_evidence() -> None:
    """The same probability from more evidence is surer."""
    alphas_N = torch.tensor([2.0, 5.0, 50.0])
    outputs_NTO = (alphas_N - 1).expm1().log().view(3, 1, 1).expand(3, 1, 2)
    mean_NT, std_NT = EVIDENTIAL.moments(outputs_NTO)
    torch.testing.assert_close(mean_NT, torch.full((3, 1), 0.5))
    torch.testing.assert_close(std_NT[:, 0], Beta(alphas_N, alphas_N).variance.sqrt())


def test_the_divergence_is_the_betas() -> None:
    """KL(Beta(a, b) || Beta(1, 1)) is torch's."""
    alpha_NT2 = torch.tensor([[[3.0, 1.0]], [[2.5, 7.0]], [[1.0, 1.0]]])
    expected_N = kl_divergence(Beta(alpha_NT2[:, 0, 0], alpha_NT2[:, 0, 1]), Beta(1.0, 1.0))
    torch.testing.assert_close(
        _divergence_from_uniform(alpha_NT2)[:, 0], expected_N, atol=1e-5, rtol=1e-5
    )
