import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.report.curves import MIN_EVENTS, STEPS, Ranked, equal_rate, value_curve


def ranked(rows: int, seed: int, share: float = 1.0) -> Ranked:
    """Events of weight 1 or 5 that two arms rank with different noise."""
    rng = np.random.default_rng(seed)
    p_N = rng.random(rows) * 0.5
    weight_N = rng.choice([1.0, 5.0], rows)
    events_N = np.where(rng.random(rows) < p_N / weight_N, weight_N, 0.0)
    noisy = {name: (p_N + noise * rng.random(rows)).astype(np.float32)
             for name, noise in (("base", 0.5), ("b", 0.1))}  # fmt: skip
    return Ranked(noisy, events_N, share)


@given(st.integers(0, 2**32), st.integers(400, 1000))
def test_curves_are_the_weighted_share_of_the_highest(seed: int, rows: int) -> None:
    """Each point is what a loop over the ranking finds, and lies between its limits."""
    data = ranked(rows, seed)
    curve = value_curve("deal", data, 0.95)
    order = sorted(range(rows), key=lambda row: -data.e_N["b"][row])
    (arm,) = (arm for arm in curve.arms if arm.arm == "b")
    for at in (0, 7, STEPS // 2, STEPS):
        passed = order[: round(rows * curve.rates[at])]
        expected = sum(data.events_N[row] for row in passed) / data.events_N.sum()
        assert arm.kept[at] == pytest.approx(expected, abs=1e-6)
    assert arm.kept == sorted(arm.kept)
    assert (arm.kept[0], arm.kept[-1]) == (0.0, 1.0)
    assert all(
        low <= kept <= high for low, kept, high in zip(arm.low, arm.kept, arm.high, strict=True)
    )
    assert curve.oracle[-1] == 1.0


def test_a_ratio_without_events_enough_has_words_instead() -> None:
    """A curve of a few events would show single ones."""
    rows = 1000
    events_N = np.zeros(rows)
    events_N[: int(MIN_EVENTS) - 1] = 1.0
    curve = value_curve(
        "deal", Ranked({"base": np.arange(rows, dtype=np.float32)}, events_N, 1.0), 0.95
    )
    assert "19 effective events are too few" in curve.why
    assert (curve.rates, curve.oracle, curve.arms) == ([], [], [])


def test_nan_ranks_last() -> None:
    """A reward that is not a number passes after all others, as in the policy."""
    e_N = np.array([np.nan] * 50 + [1.0] * 50, dtype=np.float32)
    events_N = np.array([0.0] * 50 + [1.0] * 50)
    curve = value_curve("deal", Ranked({"base": e_N}, events_N, 1.0), 0.95)
    assert curve.arms[0].kept[STEPS // 2] == 1.0


def test_the_interval_at_equal_rate_covers_the_truth() -> None:
    """In 300 logs of one market, the 90 % interval of the difference covers 86 to 94 %."""
    rng = np.random.default_rng(5)
    rows, trials = 3000, 300
    p_N = rng.random(rows) ** 2 * 0.3
    mu_N = np.where(rng.random(rows) < 0.5, 1.0, 0.4)
    arms = {name: (p_N + noise * rng.random(rows)).astype(np.float32)
            for name, noise in (("base", 0.4), ("b", 0.2))}  # fmt: skip
    kept = {name: e_N >= np.quantile(e_N, 0.5) for name, e_N in arms.items()}
    truth = 100 * float(p_N @ (kept["b"].astype(float) - kept["base"]) / p_N.sum())
    covered = 0
    for _ in range(trials):
        event_N = (rng.random(rows) < mu_N) & (rng.random(rows) < p_N)
        found = equal_rate(
            Ranked(arms, np.where(event_N, 1 / mu_N, 0.0), 1.0), "base", "b", 0.5, 0.9
        )
        assert found is not None
        covered += found.change.low <= truth <= found.change.high
    assert 0.86 * trials <= covered <= 0.94 * trials


def test_equal_rate_needs_a_log_that_could_pass_all() -> None:
    """The ranking of the requests that the log could not pass is unknown."""
    assert equal_rate(ranked(1000, 1, share=0.98), "base", "b", 0.5, 0.95) is None
    assert equal_rate(ranked(1000, 1), "base", "b", 0.5, 0.95) is not None
