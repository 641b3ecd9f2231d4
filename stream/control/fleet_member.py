"""A worker as a member of its fleet: whether it shares the state of its rates, and what of it.

A state machine without I/O; :class:`stream.control.rate_sharing.RateSharing` has the connections.
While the member is not SHARING, the policy controls every rate from this worker's requests alone.
An assignment may come at any time: it is kept, and passed on as soon as the policy can use it.
"""

import time
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import Final

from models.settings import EVERYTHING
from stream.control.coordinator import Coordinator
from stream.messages import FleetState, RateSummary
from stream.policy import Policy
from stream.policy.fleet.view import interval_s

HOLD_S: Final = 2.5
"""Without a new state for so long the fleet's debt is not paid back by the last one."""


class MemberState(Enum):
    """State of a member. See `TRANSITIONS`."""

    STANDALONE = "standalone"  # no connection; the policy ignores the fleet
    CONNECTING = "connecting"  # brokers are being asked for the partitions of the requests
    LOADING = "loading"  # the topic is being read up to its end
    SHARING = "sharing"  # updates are published and received
    STOPPED = "stopped"  # the end; whatever was under way no longer matters


_S = MemberState
TRANSITIONS: Final[Mapping[MemberState, frozenset[MemberState]]] = {
    _S.STANDALONE: frozenset({_S.CONNECTING, _S.STOPPED}),
    _S.CONNECTING: frozenset({_S.LOADING, _S.STANDALONE, _S.STOPPED}),
    _S.LOADING: frozenset({_S.SHARING, _S.STANDALONE, _S.STOPPED}),
    _S.SHARING: frozenset({_S.STANDALONE, _S.STOPPED}),
    _S.STOPPED: frozenset(),
}


class MemberError(RuntimeError):
    """An event that the state of the member does not allow: a bug."""


class FleetMember:
    """Turns events (assignments, connections, messages, time) into calls of the policy.

    Args:
        policy: Controls the rates.
        expiry_s: A scenario without a state for so long is held standalone.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, policy: Policy, expiry_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._policy = policy
        self._expiry_s = expiry_s
        self._clock = clock
        self._partition_count = 0
        self._slot_count = 0
        self._published_s = clock()
        self._states: dict[str, FleetState] = {}
        self._received_s: dict[str, float] = {}
        self._held: set[str] = set()
        self.coordinator = Coordinator(clock)
        self.assignment: frozenset[int] = frozenset()
        self.state = MemberState.STANDALONE

    def _to(self, state: MemberState) -> bool:
        """Change the state; False once stopped, when events have no effect any more."""
        if self.state is MemberState.STOPPED:
            return False
        if state not in TRANSITIONS[self.state]:
            raise MemberError(f"a member of a fleet goes from {self.state} never to {state}")
        self.state = state
        return True

    # -- the assignment, in any state

    def assign(self, partitions: frozenset[int]) -> None:
        """The consumer group has assigned these partitions of the requests, and no others."""
        changed, self.assignment = partitions != self.assignment, partitions
        if changed and self.state is MemberState.SHARING:
            self._use_assignment()

    def revoke(self, partitions: frozenset[int]) -> None:
        """The consumer group has revoked these partitions."""
        self.assign(self.assignment - partitions)

    # -- the connection

    def connect(self) -> None:
        """A connection is being made."""
        self._to(MemberState.CONNECTING)

    def connected(self, partition_count: int, slot_count: int) -> None:
        """The brokers have answered: the requests have so many partitions, the summaries slots."""
        if self._to(MemberState.LOADING):
            self._partition_count, self._slot_count = partition_count, slot_count

    def loaded(self) -> None:
        """All states that were on the topic have been received."""
        if self._to(MemberState.SHARING):
            self._use_assignment()

    def fail(self) -> bool:
        """The connection failed: control the rates standalone until the next one.

        Returns:
            Whether it mattered; not after the stop.
        """
        if not self._to(MemberState.STANDALONE):
            return False
        self._states.clear()
        self._received_s.clear()
        self._held.clear()
        self.coordinator.coordinate((), {}, 1)
        self._policy.reset_fleet()
        return True

    def stop(self) -> None:
        """The worker stops."""
        self._to(MemberState.STOPPED)

    def _use_assignment(self) -> None:
        self._policy.assign(self.assignment, self._partition_count)
        slots = self.assignment & frozenset(range(self._slot_count))
        self.coordinator.coordinate(slots, self._states, self._slot_count)

    # -- states of the fleet

    @property
    def slot_count(self) -> int:
        """Number of slots of the fleet."""
        return self._slot_count

    def receive(self, states: Collection[FleetState]) -> None:
        """Use states that coordinators published, this worker among them.

        Raises:
            Exception: Whatever the policy raises; the fleet cannot be used then.
        """
        now_s = self._clock()
        for state in self._policy.merge(states):
            self._states[state.scenario] = state
            self._received_s[state.scenario] = now_s
            self._held.discard(state.scenario)
        self.coordinator.interval_s = self.interval_s

    def versions(self) -> Mapping[str, int]:
        """How many partitions each version decides, by the last state of the fleet."""
        state = self._states.get(EVERYTHING)
        return {} if state is None else state.versions

    def expire(self) -> None:
        """Hold scenarios without a recent state, and leave those without any for long alone."""
        now_s = self._clock()
        for scenario, received_s in list(self._received_s.items()):
            if received_s < now_s - self._expiry_s:
                del self._received_s[scenario], self._states[scenario]
                self._held.discard(scenario)
                self._policy.expire(scenario)
            elif received_s < now_s - HOLD_S and scenario not in self._held:
                self._held.add(scenario)
                self._policy.hold(scenario)

    # -- summaries of this worker

    @property
    def interval_s(self) -> float:
        """Time between two updates, by the size of the fleet."""
        state = self._states.get(EVERYTHING)
        return interval_s(0 if state is None else state.workers)

    def due_in_s(self) -> float:
        """Time until the next update; at most 0 if it is due."""
        return self._published_s + self.interval_s - self._clock()

    def updates(self) -> list[RateSummary]:
        """The summaries of this worker, to be published now."""
        now_s = self._clock()
        summaries = self._policy.summaries(now_s - self._published_s)
        self._published_s = now_s
        return summaries

    def acknowledge(self, summary: RateSummary, offset: int) -> None:
        """The broker has a summary of this worker, at this offset of its slot."""
        self._policy.acknowledge(summary.scenario, summary.sequence, offset)

    def fleet_states(self) -> list[FleetState]:
        """The states to publish now, of the slots that this worker coordinates; often none."""
        return self.coordinator.states()
