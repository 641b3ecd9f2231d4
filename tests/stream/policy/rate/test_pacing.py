import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.settings import ConsumptionSettings
from stream.messages import Spending
from stream.policy.rate.pacing import Pacing

DAY_MS = 86_400_000


def spend(
    pacing: Pacing, worth: float, budget: float = 1000.0, start: float = 0.0, reports: int = 500
) -> list[float]:
    """Simulate a day: a full share of passes for a day would cost ``worth``."""
    spent, trail = start, []
    for step in range(1, reports + 1):
        spent = min(budget, spent + (1.0 - pacing.rate) * worth / reports)
        pacing.update(Spending(budget, spent, 0, DAY_MS, step * DAY_MS // reports))
        trail.append(spent)
    return trail


@pytest.mark.parametrize("rate", [0.05, 0.6, 0.99])
def test_the_budget_is_spent_by_the_end_from_any_rate(rate: float) -> None:
    """Too high or too low a rate at first, the day's spending ends within 1 % of the budget."""
    trail = spend(Pacing(ConsumptionSettings(), rate), worth=2500.0)
    assert trail[-1] == pytest.approx(1000.0, rel=0.01)
    assert trail[250] == pytest.approx(500.0, rel=0.15)


def test_what_was_saturated_leaves_nothing_to_unwind() -> None:
    """After half a day at a bound, the rate leaves it within a few reports of being needed."""
    pacing = Pacing(ConsumptionSettings(least=0.2), 0.5)
    for step in range(1, 251):
        pacing.update(Spending(1000.0, 0.1 * step, 0, DAY_MS, step * DAY_MS // 500))
    assert pacing.rate == pytest.approx(0.2)
    for step in range(251, 257):
        spent = 25.0 + 60.0 * (step - 250)
        pacing.update(Spending(1000.0, spent, 0, DAY_MS, step * DAY_MS // 500))
    assert pacing.rate > 0.7


def test_a_spent_budget_asks_for_the_most_and_a_new_one_begins_anew() -> None:
    """Nothing left means the highest rate; a budget of another period starts anew."""
    pacing = Pacing(ConsumptionSettings(most=0.95), 0.4)
    pacing.update(Spending(10.0, 12.0, 0, DAY_MS, 1000))
    assert pacing.rate == pytest.approx(0.95)
    for step in range(1, 20):
        now = DAY_MS + step * 60_000
        pacing.update(Spending(1000.0, 0.01 * step, DAY_MS, 2 * DAY_MS, now))
    assert pacing.rate < 0.5


@given(
    st.lists(
        st.tuples(st.floats(0, 1e9), st.floats(0, 1e9), st.integers(-DAY_MS, 2 * DAY_MS)),
        max_size=40,
    )
)
def test_the_rate_stays_within_its_bounds(reports: list[tuple[float, float, int]]) -> None:
    """Whatever is reported, old, wrong or late, the rate is a number between least and most."""
    pacing = Pacing(ConsumptionSettings(least=0.1, most=0.9), 0.5)
    for budget, spent, ts in reports:
        pacing.update(Spending(budget, spent, 0, DAY_MS, ts))
        assert 0.1 - 1e-9 <= pacing.rate <= 0.9 + 1e-9
        assert np.isfinite(pacing.rate)


def test_a_report_that_is_not_newer_is_ignored() -> None:
    """The same report twice, as after a restart, moves the rate once."""
    pacing = Pacing(ConsumptionSettings(), 0.5)
    report = Spending(100.0, 1.0, 0, DAY_MS, 1_000_000)
    pacing.update(report)
    once = pacing.rate
    pacing.update(report)
    assert pacing.rate == once
