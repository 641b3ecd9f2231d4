"""Exact bounds of a mean paired difference: coverage, power, weights, edge cases."""

import numpy as np
import pytest

from tests.trainer.gates.markets import ONE, market
from trainer.gates.log_loss import joint_differences
from trainer.gates.paired import Differences, interval, lower_path

RUNS = 200


def two_points(rng: np.random.Generator, rows: int, heavy: bool) -> tuple[Differences, np.ndarray]:
    """Differences with known conditional means, in a few rows very large."""
    p_N = rng.beta(1, 20, rows)
    slope_N = rng.standard_normal(rows) * 0.3
    if heavy:
        slope_N += np.where(rng.random(rows) < 0.002, rng.choice([-6.0, 6.0], rows), 0.0)
    believed_N = np.clip(p_N * np.exp(0.5 * rng.standard_normal(rows)), 1e-4, 0.9)
    base_N = -slope_N * p_N  # the truth is a difference of 0
    y_N = rng.random(rows) < p_N
    rows_of = Differences(
        values_N=base_N + slope_N * y_N,
        centres_N=base_N + slope_N * believed_N,
        lows_N=base_N + np.minimum(slope_N, 0),
        highs_N=base_N + np.maximum(slope_N, 0),
        variances_N=slope_N**2 * believed_N * (1 - believed_N),
    )
    return rows_of, base_N + slope_N * p_N


@pytest.mark.parametrize("heavy", [False, True])
def test_no_bound_is_ever_crossed_more_often_than_stated(heavy: bool) -> None:
    """At level 0.2 and looked at after every row, with wrong beliefs of the probabilities."""
    crossed = 0
    for seed in range(RUNS):
        differences, mean_N = two_points(np.random.default_rng(seed), 2_000, heavy)
        true_N = np.cumsum(mean_N) / np.arange(1, 2_001)
        crossed += bool((lower_path(differences, 0.2) > true_N + 1e-12).any())
    assert crossed / RUNS <= 0.2 + 3 * (0.2 * 0.8 / RUNS) ** 0.5


def test_rows_that_depend_on_the_past_are_covered() -> None:
    """The bound is of the mean of conditional expectations, even if the traffic reacts."""
    crossed = 0
    for seed in range(RUNS):
        rng = np.random.default_rng(seed)
        values, means, total = [], [], 0.0
        for _ in range(500):
            p = 0.9 if total < 0 else 0.05
            x = float(rng.random() < p) - 0.5
            total += x
            values.append(x)
            means.append(p - 0.5)
        n = len(values)
        half = np.full(n, 0.5)
        rows = Differences(np.array(values), 0 * half, -half, half, half**2)
        path_N = lower_path(rows, 0.2)
        true_N = np.cumsum(means) / np.arange(1, n + 1)
        crossed += bool((path_N > true_N).any())
    assert crossed / RUNS <= 0.2 + 3 * (0.2 * 0.8 / RUNS) ** 0.5


def test_the_bound_is_nearly_as_narrow_as_a_martingale_allows() -> None:
    """Within a tenth of sqrt(2 v log(1 / alpha) / n); two fifths with some wide rows."""
    for heavy in (False, True):
        differences, _ = two_points(np.random.default_rng(1), 20_000, heavy)
        alpha = 0.001
        bounds = interval(differences, alpha)
        variance = ((differences.values_N - differences.values_N.mean()) ** 2).mean()
        ideal = (2 * variance * np.log(1 / alpha) / 20_000) ** 0.5
        assert ideal * 0.8 < bounds.estimate - bounds.low < ideal * (1.4 if heavy else 1.1)
        assert ideal * 0.8 < bounds.high - bounds.estimate < ideal * (1.4 if heavy else 1.1)


def test_both_sides_mirror_each_other() -> None:
    """Exchanging the models exchanges and negates the bounds."""
    scored, _ = market(0, 3_000, candidate_error=0.0, tasks=ONE)
    differences = joint_differences(scored)
    there, back = interval(differences, 0.01), interval(differences.negated(), 0.01)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.low < there.estimate < there.high


def test_weights_weigh_rows_whatever_their_scale() -> None:
    """Equal weights change nothing; a row of weight 0 does not count."""
    scored, _ = market(0, 2_000, tasks=ONE)
    differences = joint_differences(scored)
    even = interval(differences.weighted(np.full(2_000, 7.0)), 0.05)
    assert (even.estimate, even.low) == pytest.approx(
        (interval(differences, 0.05).estimate, interval(differences, 0.05).low)
    )
    half_N = np.arange(2_000) < 1_000
    half = interval(differences.weighted(half_N), 0.05)
    assert half.estimate == pytest.approx(differences.values_N[:1_000].mean())


def test_nothing_known_bounds_nothing() -> None:
    """Without rows both bounds are infinite; rows that cannot differ have exact bounds."""
    none = np.zeros(0)
    assert interval(Differences(none, none, none, none, none), 0.05).low == -np.inf
    same = np.full(10, 0.25)
    exact = interval(Differences(same, same, same, same, np.zeros(10)), 0.05)
    assert (exact.low, exact.estimate, exact.high) == (0.25, 0.25, 0.25)
