"""The coordinator's role as it moves: from where it reads, and when it publishes."""

import numpy as np
import pytest

from stream.control.coordinator import STALE_S, WARM_UP_S, Coordinator
from stream.messages import FleetState, RateSummary, slot_of
from tests.stream.control.test_fleet_member import Clock

SLOTS = 4


def summary(worker: str, sequence: int, owed: float = 0.0, scenario: str = "*") -> RateSummary:
    rewards_Q = np.array([0.0, 1.0], np.float32)
    return RateSummary(scenario, worker, sequence, owed, 0.0, 0.0, 0.0, 10.0, rewards_Q)


def state(through: int, workers: int, debt: float = 0.0) -> FleetState:
    nothing = np.empty(0, np.float32)
    return FleetState("*", through, workers, 20.0, debt, 0.0, nothing, nothing)


def test_a_coordinator_continues_where_the_last_state_ends() -> None:
    """It reads on from there, and from where it has read once it has."""
    coordinator = Coordinator(Clock())
    slot = slot_of("*", SLOTS)
    coordinator.coordinate({slot, (slot + 1) % SLOTS}, {"*": state(70, 2, 5.0)}, SLOTS)
    assert coordinator.next_offset(slot) == 70
    assert coordinator.next_offset((slot + 1) % SLOTS) == 0
    coordinator.receive(slot, 75, summary("a", 1, 3.0))
    assert coordinator.next_offset(slot) == 76
    coordinator.coordinate({slot}, {}, SLOTS)
    assert coordinator.slots == {slot}
    assert coordinator.next_offset(slot) == 76
    coordinator.receive(slot, 76, summary("b", 1, 1.0))
    coordinator.caught_up(slot)
    (made,) = coordinator.states()
    assert (made.debt, made.through, made.workers) == (9.0, 77, 2)


def test_a_state_beyond_the_end_of_its_slot_is_not_believed() -> None:
    """Of a topic that was made anew, or from a stranger: the next summaries count as ever."""
    coordinator = Coordinator(Clock())
    coordinator.coordinate({0}, {"*": state(10**9, 1, 5.0)}, 1)
    coordinator.limit(0, 4)
    assert coordinator.next_offset(0) == 4
    coordinator.receive(0, 4, summary("a", 1, 3.0))
    coordinator.caught_up(0)
    (made,) = coordinator.states()
    assert (made.debt, made.through) == (8.0, 5)


def test_a_new_coordinator_waits_for_the_workers_of_the_last_state() -> None:
    """Half of a fleet is none: it publishes once all are heard, or after a while, and caught up."""
    clock = Clock()
    coordinator = Coordinator(clock)
    coordinator.coordinate({0}, {"*": state(0, 2)}, 1)
    coordinator.receive(0, 0, summary("a", 1))
    coordinator.caught_up(0)
    assert coordinator.states() == []
    coordinator.receive(0, 1, summary("b", 1))
    assert [each.workers for each in coordinator.states()] == [2]
    alone = Coordinator(clock)
    alone.coordinate({0}, {"*": state(0, 2)}, 1)
    alone.receive(0, 0, summary("a", 1))
    clock.now_s += WARM_UP_S
    assert alone.states() == []
    alone.caught_up(0)
    assert [each.workers for each in alone.states()] == [1]


def test_a_worker_that_is_gone_is_in_no_state_any_more() -> None:
    """Silent for some intervals; of a named scenario, where workers report less often, longer."""
    clock = Clock()
    coordinator = Coordinator(clock)
    coordinator.coordinate({0}, {}, 1)
    coordinator.caught_up(0)
    clock.now_s += WARM_UP_S
    for offset, scenario in enumerate(("*", "named")):
        coordinator.receive(0, offset, summary("gone", 1, 2.0, scenario))
    assert {each.workers for each in coordinator.states()} == {1}
    clock.now_s += STALE_S + 2.0 * coordinator.interval_s + 0.01
    (made,) = coordinator.states()
    assert (made.scenario, made.workers, made.debt) == ("*", 0, 2.0)
    clock.now_s += 5.0
    (made,) = coordinator.states()
    assert (made.scenario, made.workers) == ("named", 0)


def test_what_arrives_for_a_slot_that_was_lost_is_left_alone() -> None:
    """The poll under way when the assignment changes may still bring some."""
    coordinator = Coordinator(Clock())
    coordinator.coordinate({0}, {}, 1)
    coordinator.coordinate((), {}, 1)
    coordinator.receive(0, 0, summary("a", 1))
    coordinator.caught_up(0)
    assert coordinator.states() == []
    with pytest.raises(KeyError):
        coordinator.next_offset(0)
