import numpy as np
import torch
from torch import Tensor

from trainer.stacking.blended import UNDECIDED, BlendedLabeller, blended, choose_shares

ROWS = 20_000


class Net:
    """Says 0.2, each set of weights a little more, with a spread of 0.04."""

    def __init__(self, number: int = 0) -> None:
        self.number = number

    def predict(self, ids_NC: Tensor) -> tuple[Tensor, Tensor]:
        shape = (len(ids_NC), 1)
        return torch.full(shape, 0.2 + 0.01 * self.number), torch.full(shape, 0.04)

    def redrawn(self, number: int) -> "Net":
        return Net(number)


class Half:
    """Stacked models that say 0.5."""

    def predict(self, ids_NC: np.ndarray) -> np.ndarray:
        return np.full((len(ids_NC), 1), 0.5, np.float32)


def test_the_score_is_blended_and_the_uncertainty_the_nets() -> None:
    """Log odds are averaged; u is the same spread of log odds at the blended score."""
    ids_NC = torch.zeros(3, 2, dtype=torch.int32)
    labeller = BlendedLabeller(Net(), Half(), (0.5,))
    mean_NT, std_NT = labeller.predict(ids_NC)
    np.testing.assert_allclose(mean_NT, np.full((3, 1), 1 / 3), rtol=1e-5)  # odds of 1/4 and 1: 1/2
    np.testing.assert_allclose(std_NT, np.full((3, 1), 0.04 * (2 / 9) / 0.16), rtol=1e-5)
    kept_NT, spread_NT = BlendedLabeller(Net(), Half(), (0.0,)).predict(ids_NC)
    np.testing.assert_allclose(kept_NT, np.full((3, 1), 0.2), rtol=1e-5)
    np.testing.assert_allclose(spread_NT, np.full((3, 1), 0.04), rtol=1e-5)


def test_other_weight_sets_are_those_of_the_net() -> None:
    """A redrawn labeller has other scores, by its net alone."""
    ids_NC = torch.zeros(1, 2, dtype=torch.int32)
    means = [
        float(BlendedLabeller(Net(), Half(), (0.5,)).redrawn(number).predict(ids_NC)[0])
        for number in range(3)
    ]
    assert means[0] < means[1] < means[2]


def test_held_out_labels_choose_the_better_model() -> None:
    """Each task has its own weights: all of the true model's, some of two that err apart."""
    rng = np.random.default_rng(0)
    logits_N = rng.normal(0, 1.5, ROWS)
    p_N = 1 / (1 + np.exp(-logits_N))
    targets_NT = (rng.random((ROWS, 4)) < p_N[:, None]).astype(np.float32)
    targets_NT[:, 3] = np.where(np.arange(ROWS) < 3, 1, 0)
    noise_NT = rng.normal(0, 1, (ROWS, 8))
    truth, nothing = logits_N, rng.normal(0, 1.5, ROWS)
    net = np.stack([truth, nothing, truth + noise_NT[:, 0], truth], axis=1)
    stacked = np.stack([nothing, truth, truth + noise_NT[:, 1], truth], axis=1)
    net_NT, stacked_NT = ((1 / (1 + np.exp(-each))).astype(np.float32) for each in (net, stacked))
    shares = choose_shares(net_NT, stacked_NT, targets_NT, np.ones(ROWS))
    assert shares == (0.0, 1.0, 0.5, UNDECIDED)


def test_blends_are_between_both_scores() -> None:
    """Whatever the weights."""
    rng = np.random.default_rng(1)
    net_NT, stacked_NT = rng.uniform(0.01, 0.99, (2, 100, 2)).astype(np.float32)
    found_NT = blended(net_NT, stacked_NT, (0.25, 0.75))
    assert (found_NT <= np.maximum(net_NT, stacked_NT) + 1e-6).all()
    assert (found_NT >= np.minimum(net_NT, stacked_NT) - 1e-6).all()
