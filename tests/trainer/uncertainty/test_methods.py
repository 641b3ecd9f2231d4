import numpy as np
import pytest

from trainer.uncertainty import METHODS
from trainer.uncertainty.controls import CONTROLS
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Float32Array, Ids


@pytest.mark.parametrize("name", METHODS)
def test_every_method_scores_well_and_says_how_unsure_it_is(
    lab: Lab, fresh_ids: Ids, fresh_truth: Float32Array, name: str
) -> None:
    """Scores are near the truth; spreads are finite, positive and possible for probabilities."""
    prediction = METHODS[name](lab).predict(fresh_ids)
    # The evidential net's loss hardly moves on a thousand rows.
    limit = 0.25 if name == "evidential" else 0.12
    assert np.abs(prediction.mean_NT - fresh_truth).mean(axis=0).max() < limit
    for spread_NT in (prediction.epistemic_NT, prediction.aleatoric_NT, prediction.total_NT):
        assert spread_NT.shape == fresh_truth.shape
        assert np.isfinite(spread_NT).all()
        assert spread_NT.min() >= 0
        assert spread_NT.max() <= 0.5 + 1e-6
    assert prediction.epistemic_NT.std(axis=0).min() > 0


def test_the_single_net_knows_no_spread(
    lab: Lab, fresh_ids: Ids, fresh_truth: Float32Array
) -> None:
    """One net without averaging scores well, and its epistemic spread is zero."""
    prediction = lab.single().predict(fresh_ids)
    assert np.abs(prediction.mean_NT - fresh_truth).mean(axis=0).max() < 0.12
    assert not prediction.epistemic_NT.any()


def test_controls_rank_as_their_names_say() -> None:
    """Variance is largest at one half, closeness to the base rate at it, random by its seed."""
    mean_NT = np.array([[0.02], [0.1], [0.5], [0.9]], np.float32)
    rates_T = np.array([0.1], np.float32)
    assert CONTROLS["bernoulli"](mean_NT, rates_T, 0).argmax() == 2
    assert CONTROLS["base_rate"](mean_NT, rates_T, 0).argmax() == 1
    first, again, other = (CONTROLS["random"](mean_NT, rates_T, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).all()
