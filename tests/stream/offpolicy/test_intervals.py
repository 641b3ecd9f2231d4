"""Limits of rates: those of scipy where events are rare, and close to their level everywhere."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stream.offpolicy.intervals import combine, mixture_radius, rate_limits


@pytest.mark.parametrize("trials", [10, 50, 1000, 1_000_000])
def test_rare_events_have_the_limits_of_jeffreys(trials: int) -> None:
    """To three hundredths of their distance, and by symmetry for rare non-events."""
    events_S = np.array([each for each in (0, 1, 2, 5, 10, 100) if each <= trials / 5], np.float64)
    trials_S = np.full(len(events_S), float(trials))
    low_S, high_S = rate_limits(events_S, trials_S, 0.95)
    beta = stats.beta(events_S + 0.5, trials_S - events_S + 0.5)
    width_S = beta.ppf(0.975) - np.where(events_S > 0, beta.ppf(0.025), 0.0)
    assert (np.abs(high_S - beta.ppf(0.975)) <= 0.03 * width_S).all()
    known_S = events_S > 0
    assert (np.abs(low_S - beta.ppf(0.025))[known_S] <= 0.03 * width_S[known_S]).all()
    flipped_low_S, flipped_high_S = rate_limits(trials_S - events_S, trials_S, 0.95)
    assert flipped_low_S == pytest.approx(1 - high_S)
    assert flipped_high_S == pytest.approx(1 - low_S)


@pytest.mark.parametrize("rate", [0.005, 0.02, 0.1, 0.3, 0.5])
def test_limits_of_a_rate_are_close_to_their_level(rate: float) -> None:
    """Exactly, by the binomial distribution, over trials of 200 to 400."""
    covered = []
    for trials in range(200, 400, 7):
        events_S = np.arange(trials + 1.0)
        low_S, high_S = rate_limits(events_S, np.full(trials + 1, float(trials)), 0.95)
        inside_S = (low_S <= rate) & (rate <= high_S)
        covered.append(float(stats.binom(trials, rate).pmf(events_S) @ inside_S))
    assert 0.935 <= np.mean(covered) <= 0.975


@given(trials=st.integers(0, 5000), share=st.floats(0, 1), level=st.sampled_from([0.8, 0.95, 0.99]))
def test_limits_enclose_the_rate_within_0_and_1(trials: int, share: float, level: float) -> None:
    """Whatever the counts."""
    events = round(share * trials)
    low_S, high_S = rate_limits(np.array([float(events)]), np.array([float(trials)]), level)
    rate = events / trials if trials else 0.5
    assert 0 <= low_S[0] <= rate <= high_S[0] <= 1


def test_a_sum_of_rates_keeps_their_skew() -> None:
    """A negative weight turns the limits round; one rate alone keeps its own."""
    rate, low, high = np.array([0.1]), np.array([0.05]), np.array([0.3])
    assert combine(np.array([2.0]), rate, low, high) == pytest.approx((0.2, 0.1, 0.6))
    assert combine(np.array([-2.0]), rate, low, high) == pytest.approx((-0.2, -0.6, -0.1))


def test_a_confidence_sequence_holds_at_every_look() -> None:
    """A random walk leaves it in at most 5 % of the runs, however often one looks."""
    rng = np.random.default_rng(3)
    looks_L = np.arange(100, 5000, 50)
    radius_L = np.array([mixture_radius(float(look), 0.95) for look in looks_L])
    sums_RL = rng.normal(size=(400, 5000)).cumsum(axis=1)[:, looks_L - 1]
    left = (np.abs(sums_RL / looks_L) > radius_L).any(axis=1).mean()
    fixed = (np.abs(sums_RL / looks_L) > 1.96 / np.sqrt(looks_L)).any(axis=1).mean()
    assert left <= 0.05
    assert fixed > 0.15
