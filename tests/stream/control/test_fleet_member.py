"""A worker's membership in its fleet, event by event and without a broker."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.settings import PolicySettings
from models.tasks import DEFAULT_TASKS
from stream.control.fleet_member import (
    PUBLISH_S,
    TRANSITIONS,
    FleetMember,
    MemberError,
    MemberState,
)
from stream.messages import PartitionState, RecordError
from stream.policy import Policy

PARTITIONS = 4
EXPIRY_S = 10.0
EVENTS = {
    "connect": lambda member: member.connect(),
    "connected": lambda member: member.connected(PARTITIONS),
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
    subject.connected(PARTITIONS)
    subject.loaded()


def decide(subject: Policy, partition: int) -> None:
    scores_NT = np.zeros((10, len(DEFAULT_TASKS)), np.float32)
    subject.decide(
        *(np.zeros(10, np.uint64), np.arange(10), scores_NT, scores_NT),
        partitions_N=np.full(10, partition),
    )


def state(partition: int, worker: str = "other", generation: int = 1) -> PartitionState:
    return PartitionState("*", partition, 2.0, 10.0, np.zeros(1, np.float32), worker, generation)


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
    """The policy owns nothing while the member loads, and the assigned partitions afterwards."""
    subject, clock = policy(), Clock()
    one = member(subject, clock)
    one.connect()
    one.assign(frozenset({1}))
    one.connected(PARTITIONS)
    one.receive([state(1, generation=6)])
    one.loaded()
    decide(subject, 1)
    clock.now_s += PUBLISH_S
    assert one.update_due()
    (update,) = one.updates()
    assert (update.partition, update.generation) == (1, 7)
    assert not one.update_due()


def test_a_partition_without_updates_expires_and_its_claim_is_taken_back() -> None:
    """A claim of a wrong generation counts until its author has published nothing for a while."""
    subject, clock = policy(), Clock()
    one = member(subject, clock)
    one.assign(frozenset({0, 1}))
    share(one)
    decide(subject, 0)
    one.receive([state(0, generation=1000)])
    clock.now_s += EXPIRY_S
    one.expire()
    decide(subject, 1)
    assert [update.partition for update in one.updates()] == [1]
    clock.now_s += 0.1
    one.expire()
    decide(subject, 0)
    clock.now_s += PUBLISH_S
    assert {update.partition for update in one.updates()} == {0, 1}


def test_a_state_of_a_partition_that_does_not_exist_is_refused() -> None:
    """The error names the partition and how many there are."""
    one = member(policy())
    one.connect()
    one.connected(PARTITIONS)
    assert one.check(state(PARTITIONS - 1)).partition == PARTITIONS - 1
    with pytest.raises(RecordError, match=r"partition 4; the requests have 4"):
        one.check(state(PARTITIONS))


def test_nothing_happens_after_the_stop() -> None:
    """What was under way at the stop ends without an effect."""
    one = member(policy())
    one.connect()
    one.stop()
    one.connected(PARTITIONS)
    one.loaded()
    assert not one.fail()
    assert one.state is MemberState.STOPPED
