"""A worker as a member of its fleet: whether it shares the state of its rates, and what of it.

A state machine without I/O; :class:`stream.control.rate_sharing.RateSharing` has the connections.
While the member is not SHARING, the policy controls every rate from this worker's requests alone.
An assignment may come at any time: it is kept, and passed on as soon as the policy can use it.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import Final

from models.settings import EVERYTHING
from stream.messages import PartitionState, RecordError
from stream.policy import Policy

PUBLISH_S: Final = 1.0
"""Time between two updates."""


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
    """Turns events (assignments, connections, updates, time) into calls of the policy.

    Args:
        policy: Controls the rates.
        expiry_s: A partition without an update for so long counts as one without requests.
        clock: Seconds, monotonic.
    """

    def __init__(
        self, policy: Policy, expiry_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._policy = policy
        self._expiry_s = expiry_s
        self._clock = clock
        self._partition_count = 0
        self._published_s = clock()
        self._updated_s: dict[tuple[str, int], float] = {}
        self._models: dict[int, str] = {}
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
            self._policy.assign(partitions, self._partition_count)

    def revoke(self, partitions: frozenset[int]) -> None:
        """The consumer group has revoked these partitions."""
        self.assign(self.assignment - partitions)

    # -- the connection

    def connect(self) -> None:
        """A connection is being made."""
        self._to(MemberState.CONNECTING)

    def connected(self, partition_count: int) -> None:
        """The brokers have answered: the topic of the requests has so many partitions."""
        if self._to(MemberState.LOADING):
            self._partition_count = partition_count

    def loaded(self) -> None:
        """All updates that were on the topic have been received."""
        if self._to(MemberState.SHARING):
            self._policy.assign(self.assignment, self._partition_count)

    def fail(self) -> bool:
        """The connection failed: control the rates standalone until the next one.

        Returns:
            Whether it mattered; not after the stop.
        """
        if not self._to(MemberState.STANDALONE):
            return False
        self._updated_s.clear()
        self._models.clear()
        self._policy.reset_fleet()
        return True

    def stop(self) -> None:
        """The worker stops."""
        self._to(MemberState.STOPPED)

    # -- updates

    def check(self, state: PartitionState) -> PartitionState:
        """A state as it was received.

        Raises:
            RecordError: If it is one of a partition that the topic of the requests does not have.
        """
        if state.partition >= self._partition_count:
            raise RecordError(
                f"rate-state: partition {state.partition}; the requests have "
                f"{self._partition_count}"
            )
        return state

    def receive(self, states: Collection[PartitionState]) -> None:
        """Merge updates of all workers, those of this one included.

        Raises:
            Exception: Whatever the policy raises; the fleet cannot be used then.
        """
        now_s = self._clock()
        for state in self._policy.merge(states):
            self._updated_s[state.scenario, state.partition] = now_s
            if state.scenario == EVERYTHING:
                self._models[state.partition] = state.model

    def versions(self) -> Counter[str]:
        """How many partitions each version decides, of those with a recent update."""
        return Counter(version for version in self._models.values() if version)

    def update_due(self) -> bool:
        """Whether it is time for the next update."""
        return self._clock() - self._published_s >= PUBLISH_S

    def updates(self) -> list[PartitionState]:
        """The states of this worker's partitions, to be published now."""
        now_s = self._clock()
        states = self._policy.partition_states(now_s - self._published_s)
        self._published_s = now_s
        return states

    def expire(self) -> None:
        """Count partitions without a recent update as partitions without requests."""
        oldest_s = self._clock() - self._expiry_s
        stale = [at for at, updated_s in self._updated_s.items() if updated_s < oldest_s]
        for scenario, partition in stale:
            del self._updated_s[scenario, partition]
            if scenario == EVERYTHING:
                self._models.pop(partition, None)
            self._policy.expire(scenario, partition)
        if stale:
            # takes back partitions that another worker claimed but does not update
            self._policy.assign(self.assignment, self._partition_count)
