"""The confidence sequence: coverage at all times, width, independence of batches, state."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from trainer.gates.confidence_sequence import ConfidenceSequence, boundary, log_mixture

RUNS = 300
Draw = Callable[[np.random.Generator, int], npt.NDArray[np.float64]]


def ever_missed(draw: Draw, low: float, high: float, mean: float, alpha: float) -> float:
    """Share of runs whose bounds exclude the mean at any of 60 looks."""
    missed = 0
    for run in range(RUNS):
        rng = np.random.default_rng(run)
        sequence = ConfidenceSequence(low, high, alpha=alpha, tightest_at=20)
        looks = np.unique(np.geomspace(1, 4_000, 60).astype(int))
        for batch in np.split(draw(rng, 4_000), looks)[:-1]:
            lower, upper = sequence.update(batch)
            if not lower <= mean <= upper:
                missed += 1
                break
    return missed / RUNS


@pytest.mark.parametrize(
    ("draw", "low", "high", "mean"),
    [
        (lambda rng, n: rng.random(n) < 0.02, 0, 1, 0.02),
        (lambda rng, n: rng.random(n) < 0.5, 0, 1, 0.5),
        (lambda rng, n: rng.beta(5, 1, n) * 4 - 2, -2, 2, 5 / 6 * 4 - 2),
        (lambda rng, n: np.where(rng.random(n) < 0.001, 20.0, -0.02), -1, 20, -0.02 + 0.02002),
    ],
    ids=["rare", "even", "skewed", "heavy"],
)
def test_the_mean_is_covered_at_all_times(draw: Draw, low: float, high: float, mean: float) -> None:
    """Watched continuously, at most alpha of the runs ever exclude the mean (0.2 + 3 errors)."""
    assert ever_missed(draw, low, high, mean, alpha=0.2) <= 0.2 + 3 * (0.2 * 0.8 / RUNS) ** 0.5


def test_a_mean_that_drifts_is_covered_on_average() -> None:
    """What is covered is the average of the conditional means so far, which the past may steer."""
    missed = 0
    for run in range(RUNS):
        rng = np.random.default_rng(run)
        sequence = ConfidenceSequence(0, 1, alpha=0.2, tightest_at=50)
        means: list[float] = []
        for _ in range(60):
            # the more was seen, the less follows
            rate = 0.8 if sequence.bounds().mean < 0.5 else 0.1
            means += [rate] * 25
            lower, upper = sequence.update(rng.random(25) < rate)
            if not lower <= np.mean(means) <= upper:
                missed += 1
                break
    assert missed / RUNS <= 0.2 + 3 * (0.2 * 0.8 / RUNS) ** 0.5


def test_an_interval_of_fixed_size_would_not_do() -> None:
    """The same looks with the normal interval miss far more often than its 5 %."""
    missed = 0
    for run in range(RUNS):
        x_N = np.random.default_rng(run).random(4_000) < 0.5
        n_N = np.arange(1, 4_001)
        z_N = np.abs(np.cumsum(x_N) - 0.5 * n_N) / np.sqrt(0.25 * n_N)
        missed += bool((z_N[30:] > 1.96).any())
    assert missed / RUNS > 0.3


def test_bounds_are_narrow_where_they_are_tuned() -> None:
    """At 20,000 values of rate 0.02: within 1.9 times the normal interval of one look."""
    x_N = np.random.default_rng(0).random(20_000) < 0.02
    sequence = ConfidenceSequence(0, 1, tightest_at=20_000 * 0.02)
    lower, upper = sequence.update(x_N)
    normal = 2 * 1.96 * (0.02 * 0.98 / 20_000) ** 0.5
    assert upper - lower < 1.9 * normal


@given(st.lists(st.floats(-1, 3), max_size=60), st.integers(0, 60))
def test_batches_and_restarts_change_nothing(values: list[float], cut: int) -> None:
    """Values in one batch, or in two with a restart between them, give the same bounds."""
    whole = ConfidenceSequence(-1, 3)
    whole.update(values)
    first = ConfidenceSequence(-1, 3)
    first.update(values[:cut])
    second = ConfidenceSequence(-1, 3, state=first.state)
    assert second.update(values[cut:]) == pytest.approx(
        (whole.bounds().lower, whole.bounds().upper)
    )
    assert -1 <= whole.bounds().lower <= whole.bounds().mean <= whole.bounds().upper <= 3


@pytest.mark.parametrize("bad", [[0.5, 1.1], [-0.1], [float("nan"), 0.5], [float("inf")]])
def test_values_outside_the_range_are_refused(bad: list[float]) -> None:
    """The bounds would mean nothing; the state stays what it was."""
    sequence = ConfidenceSequence(0, 1)
    before = sequence.update([0.2, 0.4])
    with pytest.raises(ValueError, match=r"the range is \[0, 1\]"):
        sequence.update(bad)
    assert sequence.update([]) == before


@pytest.mark.parametrize(
    ("low", "high", "alpha", "at"),
    [(1, 1, 0.1, 1), (0, float("inf"), 0.1, 1), (0, 1, 0, 1), (0, 1, 1, 1), (0, 1, 0.1, 0)],
)
def test_arguments_are_checked(low: float, high: float, alpha: float, at: float) -> None:
    """Nothing that has no meaning is accepted."""
    with pytest.raises(ValueError, match=r"range|alpha|tightest"):
        ConfidenceSequence(low, high, alpha=alpha, tightest_at=at)


@pytest.mark.parametrize(("total", "variance", "rho"), [(3.0, 2.0, 1.5), (0.0, 8.0, 4.0)])
def test_the_mixture_is_the_integral(total: float, variance: float, rho: float) -> None:
    """Proposition 9's closed form against the integral over lambda that it stands for."""

    def weight(y: float) -> float:
        return float(y ** (rho - 1) * np.exp(-rho * y))

    def term(y: float) -> float:
        return float(np.exp((1 - y) * total + variance * (np.log(y) + 1 - y)) * weight(y))

    value = quad(term, 0, 1)[0] / quad(weight, 0, 1)[0]
    assert log_mixture(total, variance, rho) == pytest.approx(np.log(value), rel=1e-6)


def test_the_boundary_holds_for_many_values() -> None:
    """No overflow after a billion values, and the radius still falls."""
    assert boundary(1e9, 50.0, 4.0) / 1e9 < boundary(1e6, 50.0, 4.0) / 1e6
    assert 0 < boundary(0.0, 50.0, 4.0) < 40
