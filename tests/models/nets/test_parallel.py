import pytest
import torch

from models.nets.parallel import ParallelLinear, UnitDropout


def test_parallel_layers_are_separate_linear_layers() -> None:
    """Each layer sees its own input, weights and bias only."""
    layers = ParallelLinear(3, 5, 2)
    torch.nn.init.normal_(layers.bias_E1O)
    x_ENI = torch.randn(3, 4, 5)
    out_ENO = layers(x_ENI)
    for layer in range(3):
        expected_NO = x_ENI[layer] @ layers.weight_EIO[layer] + layers.bias_E1O[layer]
        torch.testing.assert_close(out_ENO[layer], expected_NO)


def test_dropout_is_random_in_training_and_a_fixed_mask_afterwards() -> None:
    """Nothing is dropped until a mask is set, which then applies to all requests."""
    dropout = UnitDropout(0.5, 2, 100)
    ones_ENO = torch.ones(2, 3, 100)
    assert set(dropout(ones_ENO).unique().tolist()) == {0.0, 2.0}
    dropout.eval()
    assert torch.equal(dropout(ones_ENO), ones_ENO)
    mask_E1O = dropout.draw(torch.Generator().manual_seed(1))
    dropout.keep_E1O.copy_(mask_E1O)
    assert torch.equal(dropout(ones_ENO), mask_E1O.expand(2, 3, 100))
    assert mask_E1O.mean().item() == pytest.approx(1.0, abs=0.3)


def test_masks_follow_their_generator() -> None:
    """The same seed gives the same mask."""
    dropout = UnitDropout(0.3, 1, 50)
    one, two, other = (dropout.draw(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
