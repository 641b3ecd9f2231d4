"""Estimates: right on average, honest about what the log cannot say, unmoved by what cancels."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tasks import Task, TaskSet
from stream.offpolicy.cells import Cells
from stream.offpolicy.errors import OffPolicyError
from stream.offpolicy.estimate import Estimate, as_frame, compare, intervals
from tests.stream.offpolicy.logs import TASKS, Log, make_log

Doubles = npt.NDArray[np.float64]
COUNT = 4000


def traffic(seed: int, explore: float, mean: float = 0.3) -> tuple[Log, dict[str, Doubles]]:
    """A log at one rate, an arm at a higher and one at a lower rate."""
    rng = np.random.default_rng(seed)
    p_N = rng.beta(2 * mean, 2 * (1 - mean), COUNT)
    mu_N = np.where(p_N > np.quantile(p_N, 0.6), 1.0, explore)
    strict_N = np.where(p_N > np.quantile(p_N, 0.7), 1.0, 0.0)
    loose_N = np.where(p_N > np.quantile(p_N, 0.45), 1.0, 0.0)
    probabilities = {"mu": mu_N, "strict": strict_N, "loose": loose_N, "p": p_N}
    return make_log(rng, mu_N, loose_N, strict_N, p_N), probabilities


def first(log: Log) -> Estimate:
    """The estimate to use."""
    return compare(log.requests, log.labels, log.arm_a, log.arm_b, TASKS)[0]


def test_every_method_says_what_it_rests_on() -> None:
    """On a log that explores a tenth of what it blocks; the default covers the truth."""
    log, _ = traffic(1, 0.1)
    found = compare(log.requests, log.labels, log.arm_a, log.arm_b, TASKS)
    methods = [estimate.method for estimate in found]
    assert methods == ["dr", "stratified", "snips", "ips", "switch", "sequence"]
    for estimate in found:
        assert estimate.supported
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < log.truth < estimate.high or estimate.method in {"ips", "switch"}
        assert estimate.worst <= estimate.low
        assert estimate.high <= estimate.best
        assert estimate.rows == COUNT
        assert "labelled of" in estimate.why
    widths = {one.method: (one.high or 0) - (one.low or 0) for one in found}
    assert widths["sequence"] > widths["ips"]
    frame = as_frame(found)
    assert frame["method"].to_list() == methods
    assert frame["value"].dtype == pl.Float64


def test_a_log_without_exploration_is_refused_and_bounded() -> None:
    """Where one arm passes what the log always blocked, there are bounds instead of a figure."""
    log, probabilities = traffic(2, 0.0)
    found = first(log)
    assert not found.supported
    assert (found.value, found.low, found.high) == (None, None, None)
    assert "no exploration" in found.why
    blind = (probabilities["loose"] > 0) & (probabilities["mu"] == 0)
    assert found.best - found.worst > 1000 * blind.mean()
    assert found.worst <= log.truth <= found.best


def test_blocking_more_needs_no_exploration() -> None:
    """What a log passed and an arm would not is counted, whatever the log did elsewhere."""
    log, probabilities = traffic(3, 0.0)
    rng = np.random.default_rng(3)
    kinds = probabilities["mu"], probabilities["strict"], probabilities["mu"]
    again = make_log(rng, *kinds, probabilities["p"])
    found = first(again)
    assert found.supported
    assert found.low is not None
    assert found.high is not None
    assert found.low < again.truth < found.high < 0
    assert log.truth > 0


def test_too_few_effective_samples_are_refused() -> None:
    """The words give the number and the remedy."""
    log, _ = traffic(4, 0.01)
    found = first(log)
    assert not found.supported
    assert found.ess < 50
    assert "of equal weight" in found.why
    assert "explore" in found.why


def test_arms_that_agree_differ_by_nothing_exactly() -> None:
    """Paired differences cancel: no uncertainty where there is no difference."""
    log, _ = traffic(5, 0.1)
    for found in compare(log.requests, log.labels, log.arm_a, log.arm_a, TASKS):
        assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
        assert found.supported


def test_exchanging_the_arms_changes_the_sign() -> None:
    """Of value and limits alike."""
    log, _ = traffic(6, 0.1)
    there = first(log)
    back = compare(log.requests, log.labels, log.arm_b, log.arm_a, TASKS)[0]
    assert there.value == pytest.approx(-(back.value or 0))
    assert there.low == pytest.approx(-(back.high or 0))
    assert there.ess == pytest.approx(back.ess)


def test_open_windows_and_unlogged_requests_are_left_out() -> None:
    """Requests after the last label are no part of the estimate; unlogged ones have no support."""
    log, _ = traffic(7, 0.1)
    whole = first(log)
    more = make_log(np.random.default_rng(0), *[np.ones(50)] * 2, np.zeros(50), np.full(50, 0.5))
    later = more.requests.with_columns(timestamp=pl.col("timestamp") + COUNT)
    unknown = more.labels.with_columns(label_click=pl.lit(None, pl.Boolean))
    found = compare(
        pl.concat([log.requests, later]),
        pl.concat([log.labels, unknown]),
        pl.concat([log.arm_a, more.arm_a]),
        pl.concat([log.arm_b, more.arm_b]),
        TASKS,
    )[0]
    assert found == whole
    unlogged = log.requests.with_columns(logged_verdict=pl.lit(None, pl.String))
    nothing = compare(unlogged.head(9), log.labels.head(9), log.arm_a.head(9), None, TASKS)[0]
    assert not nothing.supported


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda log: (log.requests.drop("timestamp"), log.labels), "requests: the column 'timest"),
        (lambda log: (log.requests, log.labels.drop("label_click")), "labels: the column 'label_c"),
        (lambda log: (log.requests, log.labels.reverse()), "labels: 4,000 rows are of other req"),
        (
            lambda log: (log.requests, log.labels.head(10)),
            "labels: 10 rows, but 'requests' has 4,000",
        ),
    ],
)
def test_frames_that_do_not_fit_are_named(
    spoil: Callable[[Log], tuple[pl.DataFrame, pl.DataFrame]], words: str
) -> None:
    """With the frame, and the column or the number of rows."""
    log, _ = traffic(8, 0.1)
    requests, labels = spoil(log)
    with pytest.raises(OffPolicyError, match=words):
        compare(requests, labels, log.arm_a, log.arm_b, TASKS)


def test_a_task_within_another_is_scored_over_all_requests() -> None:
    """The model of `online` is P(online | click) P(click), whose sum the cells hold."""
    tasks = TaskSet([*TASKS, Task(name="online", population="click", window_s=9)])
    log, _ = traffic(9, 0.1)
    labels = log.labels.with_columns(label_online=pl.col("label_click"))
    arm = log.arm_a.with_columns(score_online=pl.lit(0.5))
    found = compare(log.requests, labels, arm, log.arm_b, tasks)
    by_task = {(one.task, one.method): one.value for one in found}
    # half the score says the same, up to the slope
    assert by_task["online", "dr"] == pytest.approx(by_task["click", "dr"])


def test_any_propensities_are_judged_by_a_bootstrap() -> None:
    """Where propensities take thousands of values there are no strata; support is judged still."""
    rng = np.random.default_rng(11)
    p_N = rng.beta(1, 4, COUNT)
    mu_N = rng.uniform(0.1, 1.0, COUNT)
    loose_N, strict_N = (p_N > 0.1).astype(float), (p_N > 0.3).astype(float)
    log = make_log(rng, mu_N, loose_N, strict_N, p_N)
    found = compare(log.requests, log.labels, log.arm_a, log.arm_b, TASKS)
    assert [one.method for one in found] == ["snips", "ips", "switch", "sequence"]
    assert found[0].supported
    assert found[0].low is not None
    assert found[0].high is not None
    assert found[0].low < log.truth < found[0].high
    blind = make_log(rng, mu_N * (p_N > 0.2), loose_N, strict_N, p_N)
    refused = first(blind)
    assert not refused.supported
    assert "no exploration" in refused.why


def simple_cells(mu: float, requests: int, labelled: int, events: int) -> Cells:
    """One cell in which only arm a passes."""
    values = [mu, 1.0, 0.0, requests, labelled, events, 0.0, 0.0, 0.0, 0.0]
    return Cells(*(np.array([value]) for value in values))


def test_limits_of_one_stratum_are_those_of_a_binomial_rate() -> None:
    """15 of 100: Jeffreys' limits are (.090, .230)."""
    found = intervals(simple_cells(0.1, 1000, 100, 15), 0.95)["stratified"]
    assert found.value == pytest.approx(0.15)
    assert (found.low, found.high) == pytest.approx((0.0905, 0.2298), abs=1e-3)
    assert found.ess == pytest.approx(100)


def test_no_event_is_not_certainty() -> None:
    """0 of 100 leaves 2.5 % possible, where a bootstrap would be certain."""
    found = intervals(simple_cells(0.1, 1000, 100, 0), 0.95)
    assert found["stratified"].low == 0
    assert found["stratified"].high == pytest.approx(0.0248, abs=1e-3)
    assert found["snips"].high == 0


def test_intervals_cover_small_counts() -> None:
    """Rare events (one in a hundred explored requests) on worlds of no other test: 93 to 98 %."""
    rng = np.random.default_rng(77)
    covered = []
    for _ in range(400):
        events = rng.binomial([200, 300], [0.01, 0.02]).astype(float)
        values = [[0.05, 1.0], [0.0, 1.0], [1.0, 0.0], [4000, 300], [200, 300], events]
        zeros = [[0.0, 0.0]] * 4
        cells = Cells(*(np.array(value, np.float64) for value in (*values, *zeros)))
        found = intervals(cells, 0.95)["dr"]
        truth = (300 * 0.02 - 4000 * 0.01) / 4300
        covered.append(found.low <= truth <= found.high)
    assert 0.93 <= np.mean(covered) <= 0.985


@settings(max_examples=30, deadline=None)
@given(
    mu=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    counts=st.lists(
        st.tuples(st.integers(0, 400), st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=5
    ),
)
def test_how_requests_are_cut_into_cells_decides_nothing(
    mu: float, counts: list[tuple[int, float, float]]
) -> None:
    """Cells of one stratum together or apart; and no bound is inside of its interval."""
    rows = []
    for requests, labelled, events in counts:
        seen = round(requests * labelled) if mu else 0
        rows.append((mu, 1.0, 0.0, requests, seen, round(seen * events), 0.0, 0.0, 0.0, 0.0))
    apart = Cells(*np.array([*rows, (1.0, 0.0, 0.0, 50, 50, 9, 0, 0, 0, 0)], np.float64).T)
    whole = np.array([(mu, 1.0, 0.0, *np.array(rows)[:, 3:].sum(axis=0))])
    other = np.array([(1.0, 0.0, 0.0, 50, 50, 9, 0, 0, 0, 0)], np.float64)
    together = Cells(*np.concatenate([whole, other]).T)
    for method, found in intervals(apart, 0.95).items():
        again = intervals(together, 0.95)[method]
        assert found.supported == again.supported
        if method != "snips":  # its draws differ
            assert (found.low, found.high) == pytest.approx((again.low, again.high))
        assert found.worst <= found.low + 1e-12
        assert found.high <= found.best + 1e-12
        if mu == 0.0 and sum(requests for requests, *_ in counts):
            assert not found.supported
