import numpy as np
import pytest

from trainer.training.delay.arrival import Events, fit_arrival
from trainer.training.delay.survival import product_limit

WINDOW = 7.0


def truncated(seed: int, events: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Delays and ages of the events that were seen: the younger a row, the fewer."""
    rng = np.random.default_rng(seed)
    age_N = rng.uniform(0, 14, events)
    delay_N = rng.exponential(2.0, events)
    delay_N = np.where(delay_N > WINDOW, rng.uniform(0, WINDOW, events), delay_N)
    seen_N = delay_N <= age_N
    ages_E = np.where(age_N > WINDOW, np.inf, age_N)[seen_N]
    return delay_N[seen_N], ages_E


def law(u: np.ndarray) -> np.ndarray:
    tail = np.exp(-WINDOW / 2)
    return np.asarray(1 - np.exp(-u / 2) + tail * (u / WINDOW))


@pytest.mark.parametrize("seed", range(5))
def test_the_product_limit_estimate_is_right_under_truncation(seed: int) -> None:
    delays_E, ages_E = truncated(seed)

    found = product_limit(delays_E, ages_E, np.ones(len(delays_E)))

    at = np.array([0.25, 1.0, 2.0, 4.0, 6.0])
    # Five standard errors of a share of 10,000 independent events: 5 * 0.5 / 100.
    np.testing.assert_allclose(found(at), law(at), atol=0.025)
    # The share of the events seen so far is far off: short delays are seen more often.
    assert ((delays_E <= 1.0).mean() - law(at)[1]) > 0.03
    assert found(np.array([-1.0, WINDOW])).tolist() == [0, 1]


def test_weights_count_as_repeated_events() -> None:
    delays_E, ages_E = np.array([1.0, 2.0, 3.0, 2.5]), np.array([4.0, np.inf, np.inf, 2.7])
    weights_E = np.array([1.0, 2.0, 1.0, 3.0])
    times = weights_E.astype(int)

    weighted = product_limit(delays_E, ages_E, weights_E)
    repeated = product_limit(
        np.repeat(delays_E, times), np.repeat(ages_E, times), np.ones(times.sum())
    )

    np.testing.assert_allclose(weighted.shares_K, repeated.shares_K)
    # By hand: at 3 one of 1, 2, 2, 3 is at risk; at 2.5 three of six; at 2 two of three.
    np.testing.assert_allclose(weighted.shares_K, [0.75 * 0.5 / 3, 0.75 * 0.5, 0.75, 1.0])


def test_no_events_have_no_law() -> None:
    assert product_limit(*np.zeros((3, 0)))(np.array([1.0])) == 0


def two_speeds(seed: int, slow: float) -> Events:
    """Events of two kinds of requests; the second kind takes ``slow`` times as long."""
    rng = np.random.default_rng(seed)
    count = 12_000
    kind_N = rng.integers(0, 2, count)
    age_N = rng.uniform(0, 20, count)
    delay_N = rng.exponential(np.where(kind_N == 1, slow, 1.0))
    seen_N = delay_N <= age_N
    ids_NC = np.stack([kind_N, rng.integers(2, 30, count)], axis=1).astype(np.int32)
    ages_E = np.where(age_N > 15, np.inf, age_N)[seen_N]
    rows_E = np.flatnonzero(seen_N)
    return Events(ids_NC, rows_E, delay_N[seen_N], ages_E, np.ones(len(rows_E)))


def test_the_delay_law_follows_the_features() -> None:
    events = two_speeds(0, slow=4.0)
    ids_NC = np.array([[0, 5], [1, 5]], np.int32).repeat(4, axis=0)
    ages_N = np.tile([0.5, 1.0, 2.0, 4.0], 2)

    found = fit_arrival(events, rows=30, seed=0)

    truth_N = 1 - np.exp(-ages_N / np.repeat([1.0, 4.0], 4))
    assert found.penalty > 0
    error_N = np.abs(found.seen(ids_NC, np.arange(len(ids_NC)), ages_N) - truth_N)
    # The odds of reversed hazards are not exactly proportional here: that is the model's error.
    assert error_N.max() < 0.13
    plain_N = fit_arrival(events, rows=0, seed=0).seen(ids_NC, np.arange(len(ids_NC)), ages_N)
    assert np.abs(plain_N - truth_N).mean() > 2.5 * error_N.mean()


def test_features_without_influence_hardly_change_the_law() -> None:
    events = two_speeds(1, slow=1.0)
    ids_NC = np.array([[0, 3], [1, 9], [1, 20]], np.int32)
    ages_N = np.array([0.3, 1.0, 2.5])

    found = fit_arrival(events, rows=30, seed=0)

    np.testing.assert_allclose(
        found.seen(ids_NC, np.arange(len(ids_NC)), ages_N), 1 - np.exp(-ages_N), atol=0.04
    )


def test_shares_rise_with_the_age() -> None:
    events = two_speeds(2, slow=4.0)
    found = fit_arrival(events, rows=30, seed=0)
    ages_N = np.linspace(0, 20, 400)

    shares_N = found.seen(np.array([[1, 7]], np.int32), np.zeros(400, np.int64), ages_N)

    assert (np.diff(shares_N) >= -1e-12).all()
    assert shares_N[[0, -1]] == pytest.approx([0, 1])
