"""Paired differences of log-loss: what they add up to, and what is known before the labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss as reference

from tests.trainer.gates.markets import FUNNEL, market
from trainer.gates.log_loss import Scored, joint_differences, log_loss, task_differences


def masked(seed: int, rows: int = 400) -> Scored:
    scored, _ = market(seed, rows, candidate_error=0.6)
    rng = np.random.default_rng(seed)
    labels_NT = np.where(rng.random(scored.labels_NT.shape) < 0.2, np.nan, scored.labels_NT)
    return Scored(scored.candidate_NT, scored.serving_NT, labels_NT, FUNNEL)


@given(st.integers(0, 50), st.sampled_from([0.0, 0.02]))
def test_a_tasks_differences_are_those_of_the_log_losses(seed: int, margin: float) -> None:
    """Their mean is (1 + margin) times one log-loss minus the other, on the population."""
    scored = masked(seed)
    for column in range(len(FUNNEL)):
        rows = scored.task(column)
        old = reference(rows.labels_K, rows.serving_K, labels=[0, 1])
        new = reference(rows.labels_K, rows.candidate_K, labels=[0, 1])
        found = task_differences(rows, margin).values_N.mean()
        assert found == pytest.approx((1 + margin) * old - new)
        assert log_loss(rows.candidate_K, rows.labels_K) == pytest.approx(new)


@given(st.integers(0, 50))
def test_the_joint_difference_is_the_sum_over_known_labels(seed: int) -> None:
    """Tasks outside their population, or unknown, add nothing."""
    scored = masked(seed)
    total = sum(
        task_differences(scored.task(column)).values_N.sum()
        for column in range(len(FUNNEL))
        # a label whose population is unknown cannot be placed
    )
    unplaced_N = np.isnan(scored.labels_NT[:, 0]) & ~np.isnan(scored.labels_NT[:, 1])
    assert unplaced_N.any()
    assert joint_differences(scored).values_N.sum() == pytest.approx(total)


@given(st.integers(0, 50))
def test_what_is_predicted_does_not_depend_on_labels(seed: int) -> None:
    """All but the values is the same for any labels, and the values lie in the range."""
    scored = masked(seed)
    flipped = Scored(scored.candidate_NT, scored.serving_NT, 1 - scored.labels_NT, FUNNEL)
    mine, other = joint_differences(scored), joint_differences(flipped)
    for name in ("centres_N", "lows_N", "highs_N", "variances_N"):
        assert np.array_equal(getattr(mine, name), getattr(other, name)), name
    for found in (mine, other):
        slack = 1e-12
        assert (found.lows_N - slack <= found.values_N).all()
        assert (found.values_N <= found.highs_N + slack).all()
        assert (found.lows_N - slack <= found.centres_N).all()
        assert (found.centres_N <= found.highs_N + slack).all()


def test_certain_scores_are_clipped() -> None:
    """A score of exactly 0 or 1 that is wrong costs -log(1e-6), not infinity."""
    ends_N = np.array([0.0, 1.0])
    assert log_loss(ends_N, 1 - ends_N) == pytest.approx(-np.log(1e-6))
    assert log_loss(np.zeros(0), np.zeros(0)) == 0
