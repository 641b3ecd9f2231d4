"""A worker's membership in its fleet, event by event and without a broker."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.settings import PolicySettings
from models.tasks import DEFAULT_TASKS
from stream.control.fleet_member import (
    HOLD_S,
    TRANSITIONS,
    FleetMember,
    MemberError,
    MemberState,
)
from stream.messages import FleetState
from stream.policy import Policy

PARTITIONS = 4
SLOTS = 2
EXPIRY_S = 10.0
EVENTS = {
    "connect": lambda member: member.connect(),
    "connected": lambda member: member.connected(PARTITIONS, SLOTS),
    "loaded": lambda member: member.loaded(),
    "fail": lambda member: member.fail(),
    "stop": lambda member: member.stop(),
}
LEADS_TO = {
    "connect": MemberState.CONNECTING,
    "connected": MemberState.LOADING,
    "loaded": MemberState.SHARING,
    "fail": MemberState.STANDALONE,
    "stop": MemberState.STOPPED,
}


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def member(policy: Policy, clock: Clock | None = None) -> FleetMember:
    return FleetMember(policy, EXPIRY_S, clock or Clock())


def policy(name: str = "me") -> Policy:
    return Policy(PolicySettings(), DEFAULT_TASKS, name)


def share(subject: FleetMember) -> None:
    """Bring a member to SHARING."""
    subject.connect()
    subject.connected(PARTITIONS, SLOTS)
    subject.loaded()


def decide(subject: Policy, partition: int) -> None:
    scores_NT = np.zeros((10, len(DEFAULT_TASKS)), np.float32)
    subject.decide(
        *(np.zeros(10, np.uint64), np.arange(10), scores_NT, scores_NT),
        partitions_N=np.full(10, partition),
    )


def state(through: int, workers: int = 2, debt: float = 0.0) -> FleetState:
    rewards_K, above_K = np.array([-1.0, 0.0], np.float32), np.array([0.9, 0.0], np.float32)
    return FleetState("*", through, workers, 4000.0, debt, 0.0, rewards_K, above_K, {"v1": workers})


partitions = st.frozensets(st.integers(0, PARTITIONS - 1))


@given(
    st.lists(
        st.sampled_from(list(EVENTS))
        | st.tuples(st.sampled_from(["assign", "revoke"]), partitions),
        max_size=30,
    )
)
def test_assignments_are_accepted_in_any_state_and_only_allowed_transitions_happen(
    events: list[str | tuple[str, frozenset[int]]],
) -> None:
    """Whatever the order of events, the state follows the table, and the assignment the group."""
    subject = member(policy())
    assignment: frozenset[int] = frozenset()
    for event in events:
        before = subject.state
        if isinstance(event, tuple):
            kind, changed = event
            getattr(subject, kind)(changed)
            assignment = changed if kind == "assign" else assignment - changed
        elif before is MemberState.STOPPED:
            EVENTS[event](subject)
        elif LEADS_TO[event] in TRANSITIONS[before]:
            EVENTS[event](subject)
            assert subject.state is LEADS_TO[event]
            continue
        else:
            with pytest.raises(MemberError, match="never to"):
                EVENTS[event](subject)
        assert subject.state is before
        assert subject.assignment == assignment


def test_an_assignment_before_the_topic_is_loaded_is_used_once_it_is() -> None:
    """The member coordinates nothing while it loads, and the slots of its partitions afterwards."""
    subject, clock = policy(), Clock()
    one = member(subject, clock)
    one.connect()
    one.assign(frozenset({1, 2}))
    one.connected(PARTITIONS, SLOTS)
    one.receive([state(6)])
    assert not one.coordinator.slots
    one.loaded()
    assert one.coordinator.slots == {1}
    assert one.versions() == {"v1": 2}
    decide(subject, 1)
    assert one.due_in_s() > 0.0
    clock.now_s += one.interval_s
    assert one.due_in_s() <= 0.0
    (update,) = one.updates()
    assert (update.scenario, update.worker, update.sequence) == ("*", "me", 1)
    assert one.due_in_s() > 0.0
    one.revoke(frozenset({1}))
    assert not one.coordinator.slots


def test_a_small_fleet_reports_more_often_than_a_large_one() -> None:
    """The interval is that of the last state's workers."""
    one = member(policy())
    share(one)
    assert one.interval_s == pytest.approx(0.1)
    one.receive([state(1, workers=5000)])
    assert one.interval_s == one.coordinator.interval_s == 1.0


def test_without_new_states_debt_is_held_and_then_the_fleet_forgotten() -> None:
    """A state is paid back by for a while, then only split by, then the worker is standalone."""
    subject, clock = policy(), Clock()
    one = member(subject, clock)
    one.assign(frozenset({3}))
    share(one)
    decide(subject, 3)
    clock.now_s += 1.0
    (update,) = one.updates()
    one.acknowledge(update, 4)
    one.receive([state(5, debt=1000.0)])
    paying = target_of(subject)
    clock.now_s += HOLD_S + 0.1
    one.expire()
    held = target_of(subject)
    assert paying is not None
    assert held is not None
    assert paying > held + 0.01
    one.expire()
    clock.now_s += EXPIRY_S
    one.expire()
    assert target_of(subject) is None
    assert one.versions() == {}
    one.receive([state(1)])
    assert one.versions() == {"v1": 2}


def target_of(subject: Policy) -> float | None:
    part = subject._scenarios["*"].controller._worker_target
    return None if part is None else part.passes


def test_nothing_happens_after_the_stop() -> None:
    """What was under way at the stop ends without an effect."""
    one = member(policy())
    one.connect()
    one.stop()
    one.connected(PARTITIONS, SLOTS)
    one.loaded()
    assert not one.fail()
    assert one.state is MemberState.STOPPED
