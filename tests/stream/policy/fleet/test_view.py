import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.rate import fleet as bench
from benchmarks.rate.traffic import RATE, window_error
from stream.messages import RateSummary
from stream.policy.fleet.mixer import Mixer
from stream.policy.fleet.view import LEAST_SLACK, SLACK, FleetView, interval_s
from stream.policy.rate.controller import InterceptionController, Target

COUNT = 120_000
EXACT = 1e-9  # the figures are multiples of 0.01 points


class Worker:
    """A worker's view, and the summary that it has published."""

    def __init__(
        self, name: str, per_second: float, rewards: list[float], owed: float = 0.0, held: float = 0
    ) -> None:
        rewards_Q = np.array(sorted(rewards), np.float32)
        self.view = FleetView()
        self.summary = RateSummary("*", name, 1, owed, 0.0, held, 0.0, per_second, rewards_Q)
        self.view.publish(self.summary, 1.0)


def share(*workers: Worker) -> None:
    """All publish, and all use the state that is made of it."""
    mixer = Mixer()
    for offset, worker in enumerate(workers):
        mixer.receive(worker.summary, offset, 0.0)
        worker.view.acknowledge(1, offset)
    (state,) = mixer.states(0.0, 0.0)
    for worker in workers:
        assert worker.view.merge(state)


@settings(deadline=None, max_examples=100)
@given(
    passes=st.floats(0.02, 0.98),
    workers=st.lists(
        st.tuples(
            st.floats(0.1, 1e5), st.lists(st.integers(0, 9).map(float), min_size=1, max_size=30)
        ),
        min_size=2,
        max_size=6,
    ),
)
def test_the_workers_parts_add_up_to_the_target(
    passes: float, workers: list[tuple[float, list[float]]]
) -> None:
    """Whatever the volumes, distributions and ties, shares weighted by volume make the target."""
    fleet = [Worker(str(n), speed, own) for n, (speed, own) in enumerate(workers)]
    share(*fleet)
    total = sum(speed for speed, _ in workers)
    made = 0.0
    for worker, (speed, _) in zip(fleet, workers, strict=True):
        target = worker.view.share_target(passes)
        assert target is not None
        assert target.slack == pytest.approx(max(LEAST_SLACK, SLACK * (speed / total) ** 0.5))
        exact = worker.view._split(worker.summary, passes)[1]
        assert -1e-6 <= exact <= 1.0 + 1e-6
        made += speed / total * exact
    assert made == pytest.approx(passes, abs=1e-6)


def test_better_traffic_passes_more() -> None:
    """Under the common threshold the worker with the higher rewards passes the larger share."""
    poor = Worker("a", 10.0, list(np.linspace(0, 1, 100)))
    rich = Worker("b", 10.0, list(np.linspace(1, 2, 100)))
    share(poor, rich)
    shares = [target.passes for w in (poor, rich) if (target := w.view.share_target(0.5))]
    assert shares == pytest.approx((0.05, 0.95), abs=0.01)


def test_the_part_is_that_of_the_own_summary_in_the_state() -> None:
    """What a worker has published since, or what no state contains yet, does not count."""
    one, other = Worker("a", 10.0, [0.0, 1.0, 2.0, 3.0]), Worker("b", 30.0, [4.0, 5.0])
    share(one, other)
    before = one.view.share_target(0.5)
    fresh = RateSummary("*", "a", 2, 0.0, 0.0, 0.0, 0.0, 1000.0, np.full(9, 9.0, np.float32))
    one.view.publish(fresh, 2.0)
    assert one.view.share_target(0.5) == before
    one.view.acknowledge(2, 2)
    assert one.view.share_target(0.5) == before
    stranger = FleetView()
    assert one.view.state is not None
    stranger.merge(one.view.state)
    assert stranger.share_target(0.5) is None


def test_an_older_state_is_not_used() -> None:
    """A coordinator that was replaced does no harm, until nothing has come for long."""
    one, other = Worker("a", 10.0, [0.0, 1.0]), Worker("b", 30.0, [4.0, 5.0])
    mixer, late = Mixer(), Mixer()
    for each in (mixer, late):
        each.receive(one.summary, 0, 0.0)
    (old,) = late.states(0.0, 0.0)
    mixer.receive(other.summary, 1, 0.0)
    (new,) = mixer.states(0.0, 0.0)
    assert one.view.merge(new)
    assert not one.view.merge(old)
    assert one.view.merge(new)
    one.view.expire()
    assert one.view.merge(old)


def test_what_no_worker_holds_is_paid_back_by_all() -> None:
    """Debt that is in no controller raises the shares; without new states it is paid no longer."""
    rewards = list(np.linspace(0, 1, 100))
    one, other = Worker("a", 100.0, rewards, 3.0, 3.0), Worker("b", 100.0, rewards, 40.0, 0.0)
    share(one, other)
    target = one.view.share_target(0.4)
    assert target is not None
    assert target.passes == pytest.approx(0.4 + 0.04, abs=0.002)  # 40 of 500, limited to a tenth
    one.view.hold()
    held = one.view.share_target(0.4)
    assert held is not None
    assert held.passes == pytest.approx(0.4, abs=0.002)
    alone = Worker("a", 100.0, rewards, 3.0, 3.0)
    share(alone)
    assert alone.view.share_target(0.4) is None
    assert FleetView().share_target(0.4) is None


def test_where_states_come_late_debt_is_paid_back_more_slowly() -> None:
    """Two seconds from a summary to a state with it: the loop takes as long, and does not swing."""
    rewards = list(np.linspace(0, 1, 100))
    quick, other = Worker("a", 1000.0, rewards), Worker("b", 1000.0, rewards, 10.0)
    share(quick, other)
    late = Worker("a", 1000.0, rewards)
    for second in (2, 3):
        made = RateSummary("*", "a", second, 0.0, 0.0, 0.0, 0.0, 1000.0, late.summary.rewards_Q)
        late.view.publish(made, float(second))
    late.view.acknowledge(1, 0)
    assert quick.view.state is not None
    late.view.merge(quick.view.state)
    paid = [w.view.share_target(0.4) for w in (quick, late)]
    assert paid[0] is not None
    assert paid[1] is not None
    assert paid[0].passes == pytest.approx(0.4 + 10 / 500, abs=0.001)
    assert paid[1].passes == pytest.approx(0.4 + 10 / 6000, abs=0.001)


def test_a_capacity_is_split_by_what_passes() -> None:
    """The parts of a capacity add up to it; before traffic is known partitions count alike."""
    low = Worker("a", 300.0, list(np.linspace(0, 1, 200)))
    high = Worker("b", 100.0, list(np.linspace(0.5, 1.5, 200)))
    share(low, high)
    parts = [worker.view.capacity_target(200.0, 1, 2) for worker in (low, high)]
    assert sum(part.passes for part in parts if part) == pytest.approx(200.0, rel=0.001)
    unknown = FleetView().capacity_target(200.0, 1, 4)
    assert unknown is not None
    assert unknown.passes == 50.0
    alone = Worker("a", 300.0, [1.0])
    share(alone)
    assert alone.view.capacity_target(200.0, 2, 2) is None


def test_small_fleets_report_more_often() -> None:
    """A thousand workers once a second, a few ten times."""
    assert (interval_s(0), interval_s(4), interval_s(100)) == pytest.approx((0.1, 0.1, 0.4))
    assert interval_s(1000) == interval_s(10**6) == 1.0


def test_a_fleet_holds_the_rate_and_catches_the_reward() -> None:
    """Four workers of shifted traffic, in the volumes' own order: 0.30 points, 99.5 % reward."""
    figures = bench.shared(bench.interleaved(COUNT, bench.VOLUMES, bench.SHIFTS))
    assert figures["rate_error_points"] <= 0.30 + EXACT
    assert figures["reward_percent"] >= 99.45


def test_independent_arrivals_are_held_as_well() -> None:
    """What one worker has too much of, the others know within a tenth of a second."""
    figures = bench.shared(bench.arriving(COUNT, bench.VOLUMES, bench.SHIFTS))
    assert figures["rate_error_points"] <= 0.30 + EXACT
    assert figures["reward_percent"] >= 99.45


def test_restart_rebalance_and_scaling_leave_no_bump() -> None:
    """While workers restart, partitions move and the fleet grows and shrinks: 0.30 points."""
    assert bench.elastic(COUNT) <= 0.30 + EXACT


def test_a_dead_workers_remainder_is_not_lost() -> None:
    """Workers that vanish for good at any time leave the long-run rate exact."""
    requests = bench.interleaved(COUNT, bench.VOLUMES, bench.SHIFTS)
    changes = {0: ("abcd",), 10: ("abbd",), 20: ("aaaa", "a"), 30: ("cccc", "c")}
    passed_N = bench.play(bench.Fleet(4), requests, changes)
    assert abs(np.count_nonzero(~passed_N) - RATE * len(passed_N)) <= 60
    assert window_error(passed_N, RATE) <= 0.35


def test_a_controller_seeded_with_rewards_ranks_from_the_first_request() -> None:
    """A new worker starts with the rewards of the fleet, not with none."""
    generator = np.random.default_rng(0)
    one = Worker("a", 1.0, generator.random(256).tolist())
    share(one)
    controller = InterceptionController(Target(0.6, slack=40.0))
    controller.seed(one.view.initial_rewards(), 0)
    reward_N = generator.random(200).astype(np.float32)
    passed_N = controller.decide(reward_N, reward_N, np.arange(200)).passed_N
    assert passed_N[reward_N > 0.75].all()
    assert not passed_N[reward_N < 0.45].any()
