import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bounds import (
    MAX_DEBT,
    MAX_PARTITION,
    MAX_PER_SECOND,
    MAX_SCENARIOS,
    MAX_VERSION,
    MAX_VERSIONS_AT_ONCE,
)
from stream.messages import FleetState, RateSummary, RecordError
from stream.messages.rate_state import read_state, write_state
from stream.messages.rate_summary import read_summary, write_summary
from stream.policy.fleet.mixer import MOST_DEBT, Mixer, mixture


def summary(
    worker: str,
    sequence: int,
    owed: float = 0.0,
    before: float = 0.0,
    per_second: float = 100.0,
    rewards: list[float] | None = None,
    drift: float = 0.0,
) -> RateSummary:
    rewards_Q = np.array(sorted(rewards or [0.0, 1.0]), np.float32)
    return RateSummary(
        "*", worker, sequence, owed, before, 1.0, drift, per_second, rewards_Q, {"v": 2}
    )


def only(mixer: Mixer) -> FleetState:
    (state,) = mixer.states(0.0, 0.0)
    return state


class Log:
    """Summaries of workers on a slot, as running workers write them."""

    def __init__(self) -> None:
        self.records: list[RateSummary] = []
        self._owed: dict[str, float] = {}
        self._acknowledged: dict[str, float] = {}

    def publish(self, worker: str, change: float, *, acknowledged: bool) -> None:
        before = self._acknowledged.get(worker, 0.0)
        owed = self._owed[worker] = self._owed.get(worker, 0.0) + change
        self.records.append(summary(worker, len(self.records), owed, before))
        if acknowledged:
            self._acknowledged[worker] = owed


def extreme(most: float, *, negative: bool = True) -> st.SearchStrategy[float]:
    return st.floats(-most if negative else 0.0, most) | st.sampled_from([0.0, most])


@given(
    st.lists(
        st.builds(
            RateSummary,
            scenario=st.just("*"),
            worker=st.integers(0, 9).map(str),
            sequence=st.integers(0, 99),
            owed=extreme(MAX_DEBT),
            owed_before=extreme(MAX_DEBT),
            held=extreme(MAX_DEBT),
            drift=extreme(MAX_PER_SECOND),
            per_second=extreme(MAX_PER_SECOND, negative=False),
            rewards_Q=st.lists(st.sampled_from([-3e38, 0.0, 1.0, 3e38]), max_size=3).map(
                lambda rewards: np.array(sorted(rewards), np.float32)
            ),
            versions=st.dictionaries(
                st.text(max_size=MAX_VERSION) | st.sampled_from(["\0" * MAX_VERSION, "v"]),
                st.integers(0, MAX_PARTITION) | st.just(MAX_PARTITION),
                max_size=MAX_VERSIONS_AT_ONCE,
            ),
        ),
        max_size=12,
    ),
    st.floats(0, 1_000),
)
def test_the_states_of_hostile_summaries_can_be_read(
    summaries: list[RateSummary], now_s: float
) -> None:
    """Otherwise every worker would refuse them, and the fleet would share nothing any more."""
    mixer = Mixer()
    for offset, hostile in enumerate(summaries):
        mixer.receive(read_summary(*write_summary(hostile)), offset, 0.0)
    for state in mixer.states(now_s, 1_000.0):
        again = read_state(*write_state(state))
        assert (again.per_second, again.debt, again.held, again.versions) == (
            state.per_second, state.debt, state.held, state.versions
        )  # fmt: skip


def test_the_versions_of_most_partitions_are_in_a_state() -> None:
    mixer = Mixer()
    for number in range(3):
        names = {f"{number}.{n}".ljust(MAX_VERSION, "x"): n for n in range(MAX_VERSIONS_AT_ONCE)}
        mixer.receive(
            replace(summary(f"w{number}", 0), versions={**names, "serving": 90}), number, 0.0
        )
    found = only(mixer).versions
    assert found["serving"] == 270
    assert len(found) > 10
    assert min(found.values()) >= MAX_VERSIONS_AT_ONCE - len(found) / 3 - 1


@given(
    published=st.lists(
        st.tuples(st.sampled_from("abc"), st.floats(-9, 9), st.booleans()), max_size=30
    ),
    takeovers=st.lists(st.integers(0, 30), max_size=3),
)
def test_no_debt_is_lost_or_counted_twice_by_coordinators(
    published: list[tuple[str, float, bool]], takeovers: list[int]
) -> None:
    """Whenever a coordinator takes over from the last state, the debt is that of all changes.

    Answers of the broker that never come, duplicates, and two coordinators at once do no harm:
    only a takeover between a summary without an answer and the next one may count it twice, so
    here the answer is there when the next coordinator starts.
    """
    log = Log()
    mixer, mixers = Mixer(), []
    expected = 0.0
    for number, (worker, change, acknowledged) in enumerate(published):
        takes_over = number + 1 in takeovers
        log.publish(worker, change, acknowledged=acknowledged or bool(takeovers))
        expected += change
        mixers.append(mixer)
        for each in mixers:
            each.receive(log.records[-1], number, 0.0)
            each.receive(log.records[-1], number, 0.0)
        if takes_over:
            mixer = Mixer([only(mixer)])
    last = mixers[-1] if mixers else mixer
    for each in [last, *mixers[:1]]:
        for state in each.states(0.0, 0.0):
            assert state.through == len(published)
            assert state.debt == pytest.approx(expected, abs=1e-6)


def test_a_new_coordinator_continues_the_debt_of_workers_that_it_never_heard_of() -> None:
    """The count before the last acknowledged summary is the base; the worker itself may be old."""
    old = Mixer()
    old.receive(summary("a", 5, 40.0, 0.0), 0, 0.0)
    new = Mixer([only(old)])
    new.receive(summary("a", 6, 43.0, 40.0), 1, 0.0)
    new.receive(summary("b", 0, 2.0, 0.0), 2, 0.0)
    assert only(new).debt == 45.0


def test_a_summary_that_is_in_the_last_state_is_not_folded_again() -> None:
    """A new coordinator may read earlier ones: their rewards count, their debt is in the state."""
    old = Mixer()
    old.receive(summary("a", 1, 40.0), 7, 0.0)
    new = Mixer([only(old)])
    new.receive(summary("a", 1, 40.0), 7, 0.0)
    state = only(new)
    assert (state.debt, state.workers, state.through) == (40.0, 1, 8)


def test_a_worker_without_summaries_expires_and_its_debt_stays() -> None:
    """It has no requests any more; what it owed the others pay back."""
    mixer = Mixer()
    mixer.receive(summary("a", 1, 40.0), 0, 10.0)
    mixer.receive(summary("b", 1, 2.0, rewards=[5.0]), 1, 14.0)
    assert only(mixer).per_second == 200.0
    assert mixer.states(0.0, 0.0) == []
    mixer.expire(14.0, lambda _: 2.0)
    state = only(mixer)
    assert (state.workers, state.per_second, state.debt, state.held) == (1, 100.0, 42.0, 1.0)
    assert state.rewards_K.tolist() == [5.0]
    assert state.versions == {"v": 2}
    mixer.expire(99.0, lambda _: 2.0)
    assert len(only(mixer).rewards_K) == 0


def test_a_hostile_summary_moves_the_debt_by_a_bound_only() -> None:
    """Whatever is claimed to be owed, the debt can be paid back within seconds."""
    mixer = Mixer([replace(only_of(summary("x", 1)), debt=1e12)])
    for sequence in range(50):
        mixer.receive(summary("evil", sequence, 1e12 * (-1) ** sequence), sequence, 0.0)
    mixer.receive(summary("evil", 99, 1e12), 50, 0.0)
    assert abs(only(mixer).debt) <= MOST_DEBT


def test_hostile_summaries_of_ever_new_scenarios_are_refused() -> None:
    """A coordinator's memory is bounded; the scenarios that it has, and all together, go on."""
    mixer, ghost = Mixer(), replace(summary("evil", 1), rewards_Q=np.empty(0, np.float32))
    for number in range(MAX_SCENARIOS + 1):
        mixer.receive(replace(ghost, scenario=f"s{number}"), number, 0.0)
    with pytest.raises(RecordError, match="more than 10000 scenarios"):
        mixer.receive(replace(ghost, scenario="one more"), MAX_SCENARIOS + 1, 0.0)
    mixer.receive(replace(summary("w", 1), scenario="s0"), MAX_SCENARIOS + 2, 0.0)
    mixer.receive(summary("w", 1), MAX_SCENARIOS + 3, 0.0)
    through = {state.scenario: state.through for state in mixer.states(0.0, 0.0)}
    assert (through["s0"], through["*"]) == (MAX_SCENARIOS + 3, MAX_SCENARIOS + 4)
    assert len(through) == MAX_SCENARIOS + 2


def only_of(one: RateSummary) -> FleetState:
    mixer = Mixer()
    mixer.receive(one, 0, 0.0)
    return only(mixer)


@given(
    st.lists(
        st.tuples(
            st.floats(0.1, 1e5),
            st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=300),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_the_share_above_each_reward_of_the_grid_is_exact(
    workers: list[tuple[float, list[float]]],
) -> None:
    """It is the sum of the workers' own shares, ties and all."""
    live = [
        summary(str(n), 1, per_second=speed, rewards=rewards)
        for n, (speed, rewards) in enumerate(workers)
    ]
    rewards_K, above_K = mixture(live)
    total = sum(one.per_second for one in live)
    for reward, above in zip(rewards_K, above_K, strict=True):
        parts = [one.per_second / total * (one.rewards_Q > reward).mean() for one in live]
        assert above == pytest.approx(sum(parts), abs=1e-6)
    assert above_K[-1] == 0
    assert rewards_K[-1] == max(one.rewards_Q[-1] for one in live)


def test_the_grid_is_fine_at_both_ends() -> None:
    """Shares of 1 % are read between neighbours a quarter of a percent apart."""
    rewards_K, above_K = mixture(
        [summary(str(n), 1, rewards=list(np.random.default_rng(n).random(256))) for n in range(64)]
    )
    assert len(rewards_K) > 100
    gaps_K = -np.diff(above_K, prepend=1.0)
    assert gaps_K.max() < 0.014
    assert gaps_K[above_K < 0.01].max() < 0.004


def test_a_thousand_workers_cost_little() -> None:
    """A second of their summaries: some 10 ms, and far below the 200 ms that fail here."""
    rng = np.random.default_rng(0)
    mixer = Mixer()
    made = [summary(str(n), 1, rewards=list(rng.random(256))) for n in range(1000)]
    begin = time.process_time()
    for offset, one in enumerate(made):
        mixer.receive(one, offset, 0.0)
    state = only(mixer)
    assert time.process_time() - begin < 0.2
    assert state.workers == 1000
