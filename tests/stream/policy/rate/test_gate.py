import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.policy.rate.gate import REFRESH, ShareGate
from stream.policy.rate.levels import HIGHEST, LOWEST, plan_levels, rankable
from stream.policy.rate.window import SlidingWindow

odd_floats = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 0.25, 1e300, -1e300])


def gate(share: float, slack: float = 5.0, requests: int = 200, granted: float = 0.0) -> ShareGate:
    return ShareGate(share, slack, SlidingWindow(requests), granted)


def passes(subject: ShareGate, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    ranked = rankable(np.asarray(values, np.float64))
    return subject.admit(ranked, np.arange(len(ranked))).passed_N


@settings(deadline=None)
@given(
    share=st.floats(0.0, 1.0),
    slack=st.floats(1.0, 40.0),
    values=st.lists(st.floats(-1, 1) | odd_floats, min_size=1, max_size=60),
    repeats=st.integers(1, 40),
)
def test_the_debt_stays_bounded_at_every_request(
    share: float, slack: float, values: list[float], repeats: int
) -> None:
    """Whatever the values, passes given and passes owed differ by at most slack + 3/4, always."""
    passed = passes(gate(share, slack), values * repeats)
    owed = share * np.arange(1, len(passed) + 1)
    assert np.abs(np.cumsum(passed) - owed).max() <= math.ceil(slack * 4) / 4 + 0.5 + 1e-6


@pytest.mark.parametrize(("share", "expected"), [(0.0, False), (1.0, True)])
def test_no_share_and_the_whole_share_are_exact(share: float, expected: bool) -> None:
    """Nothing passes at share 0 and everything at share 1, NaN and infinities included."""
    values = [*np.random.default_rng(0).normal(size=3000), math.nan, math.inf, -math.inf]
    assert (passes(gate(share), values) == expected).all()


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.997])
def test_equal_values_pass_evenly(share: float) -> None:
    """Of constant values every stretch passes its share to within two passes."""
    passed = passes(gate(share, slack=40.0), np.full(20_000, 0.25))
    gone = np.concatenate([[0], np.cumsum(passed)])
    for length in (10, 100, 1000):
        owed = share * length
        assert np.abs(gone[length:] - gone[:-length] - owed).max() <= 3.0


def test_the_threshold_is_the_exact_quantile_of_what_is_recent_at_every_refresh() -> None:
    """At each refresh the threshold equals numpy's order statistic of the values that count."""
    values = np.random.default_rng(1).normal(size=6000).astype(np.float32)
    subject, window = gate(0.3, requests=700), SlidingWindow(700)
    at = 0
    for stop in [1, 2, 4, 8, 16, 32, 64, *range(REFRESH, 6000, REFRESH)]:
        subject.admit(values[at:stop], np.arange(at, stop))
        window.append(values[at:stop], np.arange(at, stop))
        at = stop
        ordered = window.recent(subject.share)
        assert subject.threshold == np.sort(ordered)[int((1 - subject.share) * len(ordered))]
    assert at == 46 * REFRESH


def test_a_debt_may_stand_until_the_bound_is_near() -> None:
    """With much slack the share is corrected only within the last passes before the bound."""
    plan = plan_levels(0.4, 0.4, 100.0, everything=False)
    owed_L = np.arange(-100.0, 102.0, 0.25)
    free_L = np.abs(owed_L) <= 70.0
    assert plan.below_L[free_L] == pytest.approx(0.6)
    assert (np.diff(plan.below_L[(owed_L >= 70.0) & (owed_L <= 95.0)]) < 0).all()
    assert (np.diff(plan.below_L[(owed_L >= -95.0) & (owed_L <= -70.0)]) < 0).all()
    assert plan_levels(0.4, 0.4, 13.0, everything=False).below_L[4 * 12] > 0.6


@given(
    slack=st.floats(1.0, 20.0),
    shares=st.lists(st.floats(0.0, 30.0), min_size=1, max_size=200),
)
def test_what_exceeds_the_bound_is_lost_where_the_share_varies(
    slack: float, shares: list[float]
) -> None:
    """Values that each add some passes decide as a count, one by one, of what is owed does."""
    shares_N = np.floor(np.array(shares) * 2**32) / 2**32
    values = np.random.default_rng(len(shares)).random(len(shares)).astype(np.float32)
    subject = gate(0.5, slack)
    subject.retarget(0.5, slack, varying=True)
    owed, bound = 0.0, math.ceil(slack * 4) / 4
    for value, share in zip(values, shares_N, strict=True):
        one = subject.admit(np.array([value]), np.zeros(1, np.int64), None, np.array([share]))
        owed = min(owed + share, bound + 0.5) - float(one.passed_N[0])
        assert subject.debt == owed
    whole = gate(0.5, slack)
    whole.retarget(0.5, slack, varying=True)
    whole.admit(values, np.zeros(len(values), np.int64), None, shares_N)
    assert whole.debt == owed


def test_higher_values_pass_when_nothing_else_differs() -> None:
    """Among settled, independent values the passed ones are the highest, but for the slack."""
    values = np.random.default_rng(2).random(20_000)
    passed = passes(ShareGate(0.4, 40.0, SlidingWindow(5000)), values)[5000:]
    late = values[5000:]
    assert passed[late > 0.64].all()
    assert not passed[late < 0.56].any()


def test_nothing_bursts_at_the_start() -> None:
    """From the first request on, passes follow what is owed to within the slack."""
    rising = np.linspace(0, 1, 500)
    for values in (rising, rising[::-1]):
        gone = np.cumsum(passes(gate(0.4, slack=4.0), values))
        assert np.abs(gone - 0.4 * np.arange(1, 501)).max() <= 4.5


def test_nan_ranks_below_every_number() -> None:
    """NaN is blocked while numbers suffice, and passes in turn when nothing else is there."""
    values = np.tile([math.nan, 0.5, math.nan, 0.1, -3.0], 1000)
    passed = passes(gate(0.5, slack=30.0), values)[1000:]
    assert not passed[np.isnan(values[1000:])].any()
    assert passes(gate(0.5), np.full(1000, math.nan)).mean() == 0.5


def test_granted_values_pass_and_count() -> None:
    """Granted values pass whatever their rank, inside the share; the rest makes room for them."""
    generator = np.random.default_rng(3)
    values = rankable(generator.random(30_000))
    granted = generator.random(30_000) < 0.2
    admission = gate(0.4, granted=0.2).admit(values, np.arange(30_000), granted)
    assert admission.passed_N[granted].all()
    assert abs(admission.passed_N.mean() - 0.4) < 0.001
    assert np.array_equal(admission.passed_N, admission.chosen_N | granted)
    assert abs(admission.chosen_N.mean() - 0.25) < 0.01


def test_retargeting_holds_the_new_share_at_once() -> None:
    """After retarget every stretch passes the new share to within the slack."""
    values = np.random.default_rng(4).random(4000)
    subject = gate(0.4, slack=5.0)
    passes(subject, values[:2000])
    subject.retarget(0.1, 5.0)
    gone = np.cumsum(passes(subject, values[2000:]))
    assert np.abs(gone - 0.1 * np.arange(1, 2001)).max() <= 11.0
    assert subject.share == pytest.approx(0.1)


def test_achieved_is_the_share_of_the_last_span() -> None:
    """Achieved is NaN before anything, then the passed share of some last 10,000 values."""
    subject = gate(0.25, slack=1.0)
    assert math.isnan(subject.achieved)
    assert math.isnan(subject.threshold)
    passes(subject, np.random.default_rng(8).random(40_000))
    assert subject.achieved == pytest.approx(0.25, abs=0.0005)


def test_rankable_keeps_order_and_is_finite() -> None:
    """Every float has a finite place, NaN the lowest, and order is kept."""
    ranked = rankable(np.array([math.nan, -math.inf, -1e300, -1.0, 0.0, 1.0, 1e300, math.inf]))
    assert np.isfinite(ranked).all()
    assert (np.diff(ranked) >= 0).all()
    assert ranked[0] == LOWEST
    assert ranked[-1] < HIGHEST
