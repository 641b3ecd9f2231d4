import torch
from torch import nn

from trainer.training.objective.conflicts import without_conflicts


def gradient(losses: list[torch.Tensor], weight: nn.Parameter) -> torch.Tensor:
    weight.grad = None
    total = without_conflicts(torch.stack(losses), [weight])
    torch.testing.assert_close(total.detach(), torch.stack(losses).sum().detach())
    total.backward()
    assert weight.grad is not None
    return weight.grad


def test_gradients_that_agree_are_summed() -> None:
    """Nothing is projected without a conflict; a weight of one task only keeps its gradient."""
    weight = nn.Parameter(torch.tensor([1.0, 2.0]))
    summed = gradient([weight[0] * 3, weight.sum()], weight)
    torch.testing.assert_close(summed, torch.tensor([4.0, 1.0]))


def test_a_conflict_is_projected_away() -> None:
    """Two gradients at an obtuse angle: each loses its component along the other (Algorithm 1)."""
    weight = nn.Parameter(torch.zeros(2))
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, 1.0])
    found = gradient([weight @ one, weight @ other], weight)
    kept_one = one - (one @ other) / (other @ other) * other
    kept_other = other - (one @ other) / (one @ one) * one
    torch.testing.assert_close(found, kept_one + kept_other)
    assert found @ one >= 0
    assert found @ other >= 0
