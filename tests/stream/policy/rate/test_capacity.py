from itertools import pairwise

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.rate import capacity as bench
from models.settings import PolicySettings
from models.tasks import DEFAULT_TASKS
from stream.policy import Policy
from stream.policy.rate.capacity import DEPTH_S, TokenBucket, slack_within
from stream.policy.rate.controller import InterceptionController, Target
from stream.policy.rate.stream_clock import StreamClock


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
    """The shares of any stretch add up to at most Q t and the bucket's depth."""
    shares_N = TokenBucket(200.0).accrue(TIMES)
    clock_N = np.maximum.accumulate(TIMES) - TIMES[0]
    assert (np.cumsum(shares_N) <= 0.2 * clock_N + 200.0 * DEPTH_S + 1e-6).all()


def test_the_bars_hold_while_traffic_doubles() -> None:
    """Over-delivery in any ten seconds is at most 2 % at 50 and 1,000 per second."""
    for per_second in (50, 1000):
        time_N = bench.arrivals(per_second)[:100_000]
        score_N = np.random.default_rng(1).beta(0.7, 6.0, len(time_N))
        passed_N = bench.decide(time_N, score_N, per_second)
        assert bench.over_percent(time_N, passed_N, per_second) <= 2.0


START = 1_767_225_600_000
DAY = 86_400_000


def decided(
    policy: Policy,
    times_N: npt.NDArray[np.int64],
    partitions_N: npt.NDArray[np.int64],
    now: int,
    seed: int = 0,
) -> npt.NDArray[np.bool_]:
    scores_NT = np.random.default_rng(seed).random((len(times_N), 4)).astype(np.float32)
    none_N = np.zeros(len(times_N), np.uint64)
    return policy.decide(
        none_N, times_N, scores_NT, scores_NT, partitions_N=partitions_N, now_ms=now
    ).passed_N


def limited(per_second: float) -> Policy:
    return Policy(PolicySettings(capacity=per_second, confidence="score"), DEFAULT_TASKS)


wild = st.one_of(
    st.sampled_from([0, -1, 2**63 - 1, -(2**63), START + DAY, START - DAY, START * 1000]),
    st.integers(START - 100_000, START + 100_000),
)


@settings(deadline=None, max_examples=60)
@given(
    per_second=st.floats(1.0, 50_000.0),
    stamps=st.lists(wild, min_size=1, max_size=60),
    repeats=st.integers(1, 20),
    partitions=st.integers(1, 3),
    walls=st.lists(st.integers(0, 3_000), min_size=8, max_size=8),
)
def test_hostile_stamps_pass_no_more_than_accrued_on_the_streams_clock(
    per_second: float, stamps: list[int], repeats: int, partitions: int, walls: list[int]
) -> None:
    """In any t seconds of the stream's time at most Q t + depth + 2 B + 1 pass."""
    times_N = np.array(stamps * repeats, np.int64)
    partitions_N = np.arange(len(times_N)) % partitions
    policy, clock, now, passed, time = limited(per_second), StreamClock(), START, [], []
    for at_N, wall in zip(np.array_split(np.arange(len(times_N)), 8), walls, strict=True):
        now += wall
        passed.append(decided(policy, times_N[at_N], partitions_N[at_N], now))
        time.append(clock.read(times_N[at_N], partitions_N[at_N], now)[0])
    passed_N, clock_N = np.concatenate(passed), np.concatenate(time)
    spare = max(1.0, DEPTH_S * per_second) + 2.0 * slack_within(per_second, 13.0) + 1.5
    over_N = np.cumsum(passed_N) - per_second / 1000.0 * (clock_N - clock_N[0])
    lowest_N = np.minimum.accumulate(np.concatenate([[0.0], over_N[:-1]]))
    assert (over_N - lowest_N).max() <= spare + 1.0 + 1e-6


def test_a_backlog_of_two_partitions_passes_whole_where_there_is_room() -> None:
    """One partition read after the other: what the capacity has room for is not intercepted.

    Where partitions are uneven it takes a second on the wall, and some requests, to learn so.
    """
    for first, second in ((200, 200), (360, 40), (40, 360)):
        policy, rounds = limited(110.0), []
        for round_ in range(8):
            begin = START + 4_000 * round_
            for number, count in enumerate((first, second)):
                times_N = begin + np.arange(count) * 4_000 // count
                now = START + DAY + 1_000 * round_ + 500 * number
                rounds.append(decided(policy, times_N, np.full(count, number), now))
        assert np.concatenate(rounds[0 if first == second else 4 :]).mean() > 0.99


def test_the_share_is_back_to_normal_after_garbage() -> None:
    """Half a minute of garbage of each kind, then half pass again of twice the capacity."""
    generator = np.random.default_rng(0)
    kinds = [
        lambda right: np.where(generator.random(len(right)) < 0.5, right + DAY, right),
        lambda right: right + DAY,
        lambda right: np.full(len(right), 0),
        lambda right: generator.integers(-(2**63), 2**63 - 1, len(right)),
        lambda right: right - 3_600_000,
        lambda right: right * 1000,
    ]
    for garbage in kinds:
        policy, shares = limited(100.0), []
        for second in range(120):
            now = START + 1000 * second
            right_N = np.arange(now, now + 1000, 5)
            times_N = garbage(right_N) if 30 <= second < 60 else right_N
            partitions_N = np.arange(len(times_N)) % 2
            shares.append(decided(policy, times_N, partitions_N, now + 1000, second).mean())
        assert np.abs(np.array(shares[66:]) - 0.5).max() < 0.1
        assert abs(np.mean(shares[66:]) - 0.5) < 0.01
