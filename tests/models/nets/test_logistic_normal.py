import pytest
import torch

from models.nets.logistic_normal import log_sigmoid_mean, sigmoid_moments


def test_moments_of_a_logistic_normal() -> None:
    """Quadrature gives what many draws do, for narrow and wide logits."""
    generator = torch.Generator().manual_seed(1)
    for mean, std in ((-4.0, 0.3), (0.0, 1.0), (1.0, 3.0)):
        draws = (mean + std * torch.randn(400_000, generator=generator)).sigmoid()
        place, variance = torch.tensor([mean]), torch.tensor([std**2])
        first, second = sigmoid_moments(place, variance)
        assert first.item() == pytest.approx(draws.mean().item(), abs=2e-3)
        assert second.item() == pytest.approx(draws.std().item(), abs=2e-3)
        assert log_sigmoid_mean(place, variance).exp().item() == pytest.approx(first.item(), 1e-4)
