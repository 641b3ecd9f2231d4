import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.rate import fleet as bench
from benchmarks.rate.traffic import RATE, window_error
from stream.messages import PartitionState
from stream.policy.fleet.view import FleetView
from stream.policy.rate.controller import InterceptionController, Target

COUNT = 150_000


def state(
    partition: int, per_second: float, rewards: list[float], due: float = 0.0
) -> PartitionState:
    return PartitionState("*", partition, due, per_second, np.array(rewards, np.float32), "w", 3)


def view(*states: PartitionState) -> FleetView:
    found = FleetView()
    for one in states:
        found.merge(one)
    return found


@settings(deadline=None, max_examples=100)
@given(
    passes=st.floats(0.02, 0.98),
    partitions=st.lists(
        st.tuples(
            st.floats(0.1, 1e5), st.lists(st.integers(0, 9).map(float), min_size=1, max_size=30)
        ),
        min_size=2,
        max_size=6,
    ),
)
def test_the_workers_parts_add_up_to_the_target(
    passes: float, partitions: list[tuple[float, list[float]]]
) -> None:
    """Whatever the volumes, distributions and ties, shares weighted by volume make the target."""
    fleet = view(*(state(p, speed, sorted(own)) for p, (speed, own) in enumerate(partitions)))
    total = sum(speed for speed, _ in partitions)
    split = [fleet._split(passes, [p]) for p in range(len(partitions))]
    assert sum(part for part, _ in split) == pytest.approx(1.0)
    assert sum(part * share for part, share in split) == pytest.approx(passes, abs=1e-6)
    for (part, share), (speed, _) in zip(split, partitions, strict=True):
        assert part == pytest.approx(speed / total)
        assert -1e-9 <= share <= 1.0 + 1e-9


def test_better_traffic_passes_more() -> None:
    """Under the common threshold the partition with the higher rewards passes the larger share."""
    fleet = view(
        state(0, 10.0, list(np.linspace(0, 1, 100))), state(1, 10.0, list(np.linspace(1, 2, 100)))
    )
    poor, rich = fleet.share_target(0.5, [0], 0.0), fleet.share_target(0.5, [1], 0.0)
    assert poor is not None
    assert rich is not None
    assert (poor.passes, rich.passes) == pytest.approx((0.05, 0.95), abs=0.01)


def test_what_others_left_due_is_made_good_for() -> None:
    """Passes due on a silent partition raise the shares of those that are left."""
    rewards = list(np.linspace(0, 1, 100))
    fleet = view(state(0, 100.0, rewards, due=3.0), state(1, 100.0, rewards, due=40.0))
    fleet.expire(1)
    aim = fleet.share_target(0.4, [0], debt=3.0)
    assert aim is not None
    assert aim.part == 1.0
    assert aim.passes == pytest.approx(0.4 + 40.0 / 2000.0)
    assert view(state(0, 100.0, rewards, due=3.0)).share_target(0.4, [0], debt=3.0) is None
    assert FleetView().share_target(0.4, [0], debt=3.0) is None


def test_a_capacity_is_split_by_what_passes() -> None:
    """The parts of a capacity add up to it; before traffic is known partitions count alike."""
    low, high = list(np.linspace(0, 1, 200)), list(np.linspace(0.5, 1.5, 200))
    fleet = view(state(0, 300.0, low), state(1, 100.0, high))
    parts = [fleet.capacity_target(200.0, [p], 2) for p in (0, 1)]
    assert sum(part.passes for part in parts if part) == pytest.approx(200.0, rel=0.01)
    unknown = FleetView().capacity_target(200.0, [0], 4)
    assert unknown is not None
    assert unknown.passes == 50.0
    assert fleet.capacity_target(200.0, [0, 1], 2) is None


def test_a_fleet_holds_the_rate_and_catches_the_reward() -> None:
    """Four workers of shifted traffic, in the volumes' own order: 0.30 points, 99.5 % reward."""
    figures = bench.shared(bench.interleaved(COUNT, bench.VOLUMES, bench.SHIFTS))
    assert figures["rate_error_points"] <= 0.30
    assert figures["reward_percent"] >= 99.5


def test_restart_rebalance_and_scaling_leave_no_bump() -> None:
    """While workers restart, partitions move and the fleet grows and shrinks: 0.30 points."""
    assert bench.elastic(COUNT) <= 0.30


def test_a_dead_workers_remainder_is_not_lost() -> None:
    """Workers that vanish for good at any time leave the long-run rate exact."""
    requests = bench.interleaved(COUNT, bench.VOLUMES, bench.SHIFTS)
    changes = {0: ("abcd",), 10: ("abbd",), 20: ("aaaa", "a"), 30: ("cccc", "c")}
    passed_N = bench.play(bench.Fleet(4), requests, changes)
    assert abs(np.count_nonzero(~passed_N) - RATE * len(passed_N)) <= 30
    assert window_error(passed_N, RATE) <= 0.35


def test_a_controller_seeded_with_rewards_ranks_from_the_first_request() -> None:
    """A new owner starts with the window of the one before, not with none."""
    generator = np.random.default_rng(0)
    seeds = view(state(0, 1.0, sorted(generator.random(256).tolist()))).initial_rewards([0])
    controller = InterceptionController(Target(0.6, slack=40.0))
    controller.seed(seeds, 0)
    reward_N = generator.random(200).astype(np.float32)
    passed_N = controller.decide(reward_N, reward_N, np.arange(200)).passed_N
    assert passed_N[reward_N > 0.75].all()
    assert not passed_N[reward_N < 0.45].any()
