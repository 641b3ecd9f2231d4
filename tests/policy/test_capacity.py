from itertools import pairwise

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.policy.capacity import DEPTH_S, Reservoir, slack_within
from stream.policy.controller import InterceptionController, Target
from tests.bench.rate import capacity as bench


def run(
    controller: InterceptionController, reward_N: npt.NDArray[np.float32], edges: list[int]
) -> npt.NDArray[np.bool_]:
    time_N = TIMES
    parts = [
        controller.decide(reward_N[a:b], reward_N[a:b], time_N[a:b]).passed_N
        for a, b in pairwise(edges)
    ]
    return np.concatenate(parts)


COUNT = 3000
GENERATOR = np.random.default_rng(4)
TIMES = np.cumsum(GENERATOR.integers(-3, 12, COUNT)).astype(np.int64)
REWARDS = GENERATOR.beta(0.7, 6.0, COUNT).astype(np.float32)


@settings(deadline=None, max_examples=100)
@given(
    per_second=st.floats(1.0, 50_000.0),
    gaps=st.lists(st.integers(-50, 3000) | st.just(0), min_size=1, max_size=80),
    repeats=st.integers(1, 20),
)
def test_no_interval_passes_more_than_accrued(
    per_second: float, gaps: list[int], repeats: int
) -> None:
    """However requests arrive, passes never exceed Q t by more than depth, slack and one pass."""
    time_N = np.cumsum(gaps * repeats).astype(np.int64)
    score_N = np.linspace(1.0, 0.0, len(time_N))
    passed_N = bench.decide(time_N, score_N, per_second)
    clock_N = np.maximum.accumulate(time_N)
    slack = slack_within(per_second, 13.0)
    spare = max(1.0, DEPTH_S * per_second) + 2.0 * slack + 1.5
    over_N = np.cumsum(passed_N) - per_second / 1000.0 * (clock_N - clock_N[0])
    lowest_N = np.minimum.accumulate(np.concatenate([[0.0], over_N[:-1]]))
    assert (over_N - lowest_N).max() <= spare + 1.0 + 1e-6


def test_nothing_is_intercepted_while_downstream_has_room() -> None:
    """Steady traffic below Q passes whole, from the first request on."""
    for per_second, gap in ((50.0, 25), (1000.0, 2), (20_000.0, 1)):
        time_N = np.arange(5000, dtype=np.int64) * gap
        assert bench.decide(time_N, np.random.default_rng(0).random(5000), per_second).all()


def test_traffic_of_twice_the_capacity_is_cut_to_it_and_the_better_half_passes() -> None:
    """Q passes a second go through, of clearly higher reward than what is intercepted."""
    time_N = np.arange(0, 60_000, 1, dtype=np.int64) // 2
    score_N = np.random.default_rng(0).random(len(time_N))
    passed_N = bench.decide(time_N, score_N, 1000.0)
    assert abs(passed_N[5000:].mean() - 0.5) < 0.002
    assert score_N[5000:][passed_N[5000:]].mean() > 0.735


@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(0, COUNT), max_size=20))
def test_decisions_under_a_capacity_do_not_depend_on_the_cutting(cuts: list[int]) -> None:
    """Any cutting gives the verdicts of one call."""
    target = Target(0.0, capacity=120.0, direct_share=0.05)
    whole_N = run(InterceptionController(target), REWARDS, [0, COUNT])
    edges = [0, *sorted(cuts), COUNT]
    assert np.array_equal(run(InterceptionController(target), REWARDS, edges), whole_N)


def test_what_is_owed_is_exact_for_direct_passes_too() -> None:
    """No share of a direct pass is rounded on the way, or its sums would depend on the cutting."""
    controller = InterceptionController(Target(0.0, capacity=900.0, direct_share=0.05))
    run(controller, REWARDS, [0, COUNT])
    for gate in (controller._direct, controller._reward):
        assert (gate.debt * 2**32).is_integer()


def test_what_flows_out_never_exceeds_what_flowed_in() -> None:
    """The shares of any stretch add up to at most Q t and the reservoir's depth."""
    reservoir = Reservoir(200.0)
    shares_N = reservoir.draw(TIMES)
    clock_N = np.maximum.accumulate(TIMES) - TIMES[0]
    assert (np.cumsum(shares_N) <= 0.2 * clock_N + 200.0 * DEPTH_S + 1e-6).all()


def test_the_bars_hold_while_traffic_doubles() -> None:
    """Over-delivery in any ten seconds is at most 2 % at 50 and 1,000 per second."""
    for per_second in (50, 1000):
        time_N = bench.arrivals(per_second)[:100_000]
        score_N = np.random.default_rng(1).beta(0.7, 6.0, len(time_N))
        passed_N = bench.decide(time_N, score_N, per_second)
        assert bench.over_percent(time_N, passed_N, per_second) <= 2.0
