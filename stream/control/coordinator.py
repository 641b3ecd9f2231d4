"""A worker as the coordinator of some slots: which, from where it reads them, when it publishes.

The owner of partition n of the requests coordinates slot n of ``rate-summaries``, so the role moves
with the assignment. Nothing has to be handed over: a new coordinator continues from the states that
the one before published. That one may go on for a while; both fold the same summaries in the same
order, and readers ignore a state that contains fewer than the last.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from models.settings import EVERYTHING
from stream.messages import FleetState, RateSummary, slot_of
from stream.policy.fleet.mixer import Mixer
from stream.policy.fleet.view import interval_s
from stream.policy.scenario import SPARSE_S

WARM_UP_S: Final = 1.5
"""A new coordinator publishes nothing for so long, unless it has heard from as many workers as the
state before it had: a worker reports once a second at least."""
STALE_S: Final = 1.5
"""A worker without a summary of ``*`` for so long, and two intervals, has no requests. Until then
the others split the target as if it had; the fleet's debt bounds what comes of that."""


@dataclass(slots=True)
class _Slot:
    """A slot that is coordinated here."""

    mixer: Mixer
    next_offset: int
    workers: int
    started_s: float
    heard: set[str] = field(default_factory=set)
    caught_up: bool = False


class Coordinator:
    """Mixes the summaries of the slots that this worker coordinates; no I/O.

    Args:
        clock: Seconds, monotonic.

    Attributes:
        interval_s: Time between two summaries of a worker.
        tenure: Rises whenever a slot is taken over or lost.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.tenure = 0
        self._slots: dict[int, _Slot] = {}
        self.interval_s = interval_s(0)

    @property
    def slots(self) -> frozenset[int]:
        """The slots that are coordinated here."""
        return frozenset(self._slots)

    def coordinate(
        self, slots: Iterable[int], known: Mapping[str, FleetState], slot_count: int
    ) -> None:
        """Coordinate these slots from now on, and no others.

        Args:
            slots: The slots.
            known: The last state of each scenario.
            slot_count: Number of slots of the fleet.
        """
        wanted = frozenset(slots)
        self.tenure += wanted != self._slots.keys()
        for slot in self._slots.keys() - wanted:
            del self._slots[slot]
        for slot in wanted - self._slots.keys():
            states = [s for s in known.values() if slot_of(s.scenario, slot_count) == slot]
            self._slots[slot] = _Slot(
                Mixer(states),
                max((state.through for state in states), default=0),
                max((state.workers for state in states), default=0),
                self._clock(),
            )

    def next_offset(self, slot: int) -> int:
        """Offset of the first summary of a slot that is neither in its states nor received here."""
        return self._slots[slot].next_offset

    def limit(self, slot: int, end: int) -> None:
        """The slot ends at this offset; what the last states claim beyond it is not believed."""
        found = self._slots.get(slot)
        if found is not None:
            found.next_offset = min(found.next_offset, end)
            found.mixer.limit(end)

    def caught_up(self, slot: int) -> None:
        """All summaries have been received that were there when the slot was taken over."""
        found = self._slots.get(slot)
        if found is not None:
            found.caught_up = True

    def receive(self, slot: int, offset: int, summary: RateSummary) -> None:
        """Fold the next summary of a slot; nothing if it is no longer coordinated here."""
        found = self._slots.get(slot)
        if found is not None:
            found.next_offset = offset + 1
            found.heard.add(summary.worker)
            found.mixer.receive(summary, offset, self._clock())

    def _stale_s(self, scenario: str) -> float:
        return STALE_S + (2.0 * self.interval_s if scenario == EVERYTHING else SPARSE_S)

    def states(self) -> list[FleetState]:
        """The states to publish now: of scenarios with new summaries, or whose workers are gone."""
        now_s, made = self._clock(), []
        for slot in self._slots.values():
            complete = len(slot.heard) >= slot.workers > 0
            if not slot.caught_up or not (complete or now_s - slot.started_s >= WARM_UP_S):
                continue
            slot.mixer.expire(now_s, self._stale_s)
            made += slot.mixer.states(now_s, 1.5 * self.interval_s)
        return made
