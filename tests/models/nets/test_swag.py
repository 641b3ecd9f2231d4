import numpy as np
import pytest
import torch
from torch import nn

from models.nets.swag import SwagPosterior, refuse_statistics


def trajectory(steps: int, mean: float = 0.0) -> list[dict[str, torch.Tensor]]:
    """A recorded walk of two weights tensors, five numbers in all."""
    rng = np.random.default_rng(11)
    flat_SQ = mean + np.cumsum(rng.normal(size=(steps, 5)), axis=0) * 0.1
    return [
        {
            "a": torch.from_numpy(flat[:4].astype(np.float32)).view(2, 2),
            "b": torch.from_numpy(flat[4:].astype(np.float32)),
        }
        for flat in flat_SQ
    ]


def flat(weights: dict[str, torch.Tensor]) -> np.ndarray:
    return torch.cat([weight.flatten() for weight in weights.values()]).double().numpy()


def collected(steps: int, rank: int, mean: float = 0.0, scale: float = 1.0) -> SwagPosterior:
    posterior = SwagPosterior(rank, scale)
    for weights in trajectory(steps, mean):
        posterior.collect(weights)
    return posterior


@pytest.mark.parametrize("mean", [0.0, 1000.0])
def test_moments_are_numpys_at_every_step(mean: float) -> None:
    """Mean, variance and deviations equal numpy's; naive sums of squares fail far from zero."""
    posterior = SwagPosterior(rank=3)
    seen: list[np.ndarray] = []
    deviations: list[np.ndarray] = []
    for weights in trajectory(9, mean):
        posterior.collect(weights)
        seen.append(flat(weights))
        deviations.append(seen[-1] - np.mean(seen, axis=0))
        np.testing.assert_allclose(posterior.mean_Q, np.mean(seen, axis=0), rtol=1e-12)
        np.testing.assert_allclose(posterior.diagonal_P, np.var(seen, axis=0), atol=1e-9)
        np.testing.assert_allclose(
            posterior.deviations_PK, np.stack(deviations[-3:], axis=1), rtol=1e-4, atol=1e-6
        )


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_samples_have_the_covariance_of_equation_29(scale: float) -> None:
    """Samples have mean w and covariance scale (diag / 2 + D D' / (2 (K - 1)))."""
    posterior = collected(8, rank=4, scale=scale)
    samples = np.stack([flat(sample) for sample in posterior.sample(20_000, seed=1)])
    deviations = posterior.deviations_PK.double().numpy()
    expected = scale * (
        np.diag(posterior.diagonal_P.numpy()) / 2 + deviations @ deviations.T / (2 * 3)
    )
    spread = np.sqrt(np.diag(expected))
    np.testing.assert_allclose(samples.mean(0), posterior.mean_Q, atol=0.03 * spread.max())
    np.testing.assert_allclose(
        np.cov(samples.T) / np.outer(spread, spread),
        expected / np.outer(spread, spread),
        atol=0.04,
    )


def test_samples_follow_their_seed() -> None:
    """The same seed gives the same weights, another one others; torch's generator is untouched."""
    posterior = collected(5, rank=3)
    state = torch.get_rng_state()
    first, again, other = (posterior.sample(2, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(flat(first[1]), flat(again[1]))
    assert np.abs(flat(first[1]) - flat(other[1])).max() > 1e-3
    assert np.abs(flat(first[0]) - flat(first[1])).max() > 1e-3
    assert {name: weight.shape for name, weight in first[0].items()} == {
        "a": (2, 2),
        "b": (1,),
    }


def test_too_little_to_know_a_covariance_is_an_error() -> None:
    """One deviation, one snapshot, or a snapshot of another net are refused."""
    with pytest.raises(ValueError, match="at least 2"):
        SwagPosterior(rank=1)
    posterior = collected(1, rank=3)
    with pytest.raises(ValueError, match="1 snapshots"):
        posterior.sample(1, seed=0)
    with pytest.raises(ValueError, match="names and shapes"):
        posterior.collect({"a": torch.zeros(2, 2)})


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_weights_that_take_no_part_are_at_their_mean(scale: float) -> None:
    """With a choice of weights the others are the mean, and the chosen keep equation 29."""
    posterior = SwagPosterior(4, scale, takes_part=lambda name: name == "b")
    everything = collected(8, rank=4, scale=scale)
    for weights in trajectory(8):
        posterior.collect(weights)
    mean = everything.mean_weights()
    for name, weight in posterior.mean_weights().items():
        torch.testing.assert_close(weight, mean[name])
    samples = posterior.sample(20_000, seed=1)
    assert all(sample["a"] is samples[0]["a"] for sample in samples)
    torch.testing.assert_close(samples[0]["a"], mean["a"])
    deviations_1K = everything.deviations_PK[4:].double()
    variance = scale * (everything.diagonal_P[4] / 2 + deviations_1K.square().sum() / (2 * 3))
    drawn = torch.cat([sample["b"] for sample in samples]).double()
    assert drawn.var().item() == pytest.approx(variance.item(), rel=0.04)


def test_running_statistics_are_refused() -> None:
    """A batch normalisation fits one weight set only; a layer normalisation is welcome."""
    refuse_statistics(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)))
    with pytest.raises(ValueError, match="running_mean holds statistics"):
        refuse_statistics(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
