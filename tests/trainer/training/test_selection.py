"""Weights by inverse propensity undo the selection that the policy made."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.nets.losses import masked_bce
from trainer.training.selection import (
    effective_rows,
    explored,
    loss_weights,
    selection_weights,
)

PROPENSITIES = st.lists(st.floats(1e-9, 1.0) | st.just(float("nan")), min_size=1, max_size=30)


@given(PROPENSITIES, st.floats(1.0, 1e6))
def test_weights_are_inverse_propensities_within_the_clip(
    propensities: list[float], clip: float
) -> None:
    """Each is 1 / p or the clip, whichever is smaller; an unknown propensity weighs 1."""
    propensity_N = np.array(propensities)
    expected_N = [1.0 if np.isnan(p) else min(1 / p, clip) for p in propensities]
    assert selection_weights(propensity_N, clip) == pytest.approx(expected_N, rel=1e-5)
    assert np.all(selection_weights(propensity_N, 1.0) == 1.0)


@pytest.mark.parametrize("wrong", [0.0, -1.0, 2.0, np.inf])
def test_an_impossible_propensity_stays_within_the_clip(wrong: float) -> None:
    """Whatever an example says, no row weighs less than 1 or more than the clip."""
    assert 1.0 <= selection_weights(np.array([wrong]), 5.0)[0] <= 5.0


def test_explored_rows_are_those_that_might_not_have_passed() -> None:
    """A propensity below 1; unknown ones passed surely."""
    assert explored(np.array([1.0, 0.01, np.nan, 0.999])).tolist() == [False, True, False, True]


def test_effective_rows() -> None:
    """Equal weights count fully, one dominating weight counts as one row, no rows as none."""
    assert effective_rows(np.full(50, 3.0)) == pytest.approx(50)
    assert effective_rows(np.array([1e6, 1.0, 1.0])) == pytest.approx(1, abs=1e-4)
    assert effective_rows(np.zeros(0)) == 0.0


def test_the_weighted_mean_of_what_passed_is_that_of_all() -> None:
    """Without clipping it is unbiased; clipping at 2 leaves the bias that its weights say."""
    rng = np.random.default_rng(0)
    value_N, propensity_N = rng.normal(size=500), rng.choice([1.0, 0.05], 500, p=[0.2, 0.8])
    value_N += 3 * (propensity_N < 1)
    free, clipped = [], []
    for _ in range(2000):
        rows_K = rng.random(500) < propensity_N
        for clip, sums in ((20.0, free), (2.0, clipped)):
            weights_K = selection_weights(propensity_N[rows_K], clip)
            sums.append((weights_K * value_N[rows_K]).sum() / 500)
    error = np.std(free) / np.sqrt(2000)
    assert abs(np.mean(free) - value_N.mean()) < 3 * error
    kept_N = propensity_N * selection_weights(propensity_N, 2.0)
    assert np.mean(clipped) == pytest.approx((kept_N * value_N).mean(), abs=0.01)


def test_loss_weights_multiply_what_a_row_stands_for() -> None:
    """Requests that it represents times its selection weight; equal ones are left out."""
    counts_K = torch.tensor([1.0, 4.0, 4.0])
    found_K = loss_weights(counts_K, torch.tensor([0.5, 1.0, 0.001], dtype=torch.float64), 10.0)
    assert found_K is not None
    assert found_K.tolist() == [2.0, 4.0, 40.0]
    assert found_K.dtype == torch.float32
    assert loss_weights(torch.ones(5), torch.ones(5, dtype=torch.float64), 10.0) is None
    assert loss_weights(counts_K[1:], torch.tensor([0.1, 0.2], dtype=torch.float64), 1.0) is None


def test_a_model_of_weighted_rows_learns_the_rate_of_all_requests() -> None:
    """The minimum of the weighted loss is at the weighted share of positives, not the naive one."""
    targets_N1 = torch.tensor([[1.0], [1.0], [1.0], [0.0]])
    weights_N = torch.tensor([1.0, 1.0, 1.0, 9.0])
    logit = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.LBFGS([logit])

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = masked_bce(logit.expand(4, 1), targets_N1, weights_N)
        value.backward()
        return value

    for _ in range(5):
        optimizer.step(loss)
    assert logit.sigmoid().item() == pytest.approx(0.25, abs=1e-3)
