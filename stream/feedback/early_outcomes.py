"""Outcomes that arrived before their request, or without one: buffered until they expire."""

from collections import OrderedDict
from collections.abc import MutableMapping, Sequence
from typing import Final

from models.bounds import MAX_HELD_PER_REQUEST
from stream.feedback.join_counts import JoinCounts
from stream.feedback.pending import HeldOutcomes

#: Part of the join's memory budget that early outcomes may take.
EARLY_PART: Final = 1 / 8
#: Memory of one id besides its key and value: its slots in two tables.
ENTRY_BYTES: Final = 350


class EarlyOutcomes:
    """The early outcomes of one partition; they are stored in the join's state.

    Over the memory budget, those that arrived first are dropped first.

    Args:
        state: State of the join, by request id.
        tasks: Digest of the joined tasks.
        budget_bytes: Maximum memory.
        counts: Counts held, repeated and dropped outcomes.

    Attributes:
        bytes: Memory that is taken now.
    """

    def __init__(
        self,
        state: MutableMapping[bytes, bytes],
        tasks: int,
        budget_bytes: int,
        counts: JoinCounts,
    ) -> None:
        self._state = state
        self._tasks = tasks
        self._budget_bytes = budget_bytes
        self._counts = counts
        self._arrival_ms: OrderedDict[bytes, int | None] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._arrival_ms)

    def add(self, key: bytes, task: int, ts: int, now_ms: int | None) -> None:
        """Hold an outcome whose request has not arrived.

        Args:
            key: Id of the request.
            task: Index of the task.
            ts: Event time of the outcome, ms.
            now_ms: Stream time; None before the first request.
        """
        raw = self._state.get(key)
        events = () if raw is None else HeldOutcomes.from_bytes(raw).events
        if (task, ts) in events or len(events) >= MAX_HELD_PER_REQUEST:
            self._counts.duplicates += 1
            return
        self._counts.held += 1
        held = HeldOutcomes(self._tasks, (*events, (task, ts))).to_bytes()
        self.bytes += _cost(key, held) - (0 if raw is None else _cost(key, raw))
        self._state[key] = held
        self._arrival_ms.setdefault(key, now_ms)
        while self.bytes > self._budget_bytes:
            self._drop(next(iter(self._arrival_ms)))

    def pop(self, key: bytes) -> Sequence[tuple[int, int]]:
        """Remove and return the outcomes of a request that has arrived: task and event time."""
        if key not in self._arrival_ms:
            return ()
        raw = self._remove(key)
        return HeldOutcomes.from_bytes(raw).events

    def start(self, now_ms: int) -> None:
        """Set the arrival of everything held to the beginning of stream time."""
        self._arrival_ms = OrderedDict.fromkeys(self._arrival_ms, now_ms)

    def expire(self, before_ms: int) -> None:
        """Drop the outcomes that arrived before that stream time."""
        while self._arrival_ms:
            key, arrival_ms = next(iter(self._arrival_ms.items()))
            if arrival_ms is None or arrival_ms >= before_ms:
                return
            self._drop(key)

    def recover(self, key: bytes, raw: bytes, now_ms: int | None) -> None:
        """Register a recovered entry of the state; one for other tasks is dropped."""
        self._arrival_ms[key] = now_ms
        self.bytes += _cost(key, raw)
        if HeldOutcomes.from_bytes(raw).tasks != self._tasks:
            self._drop(key)

    def _drop(self, key: bytes) -> None:
        self._counts.orphans += len(HeldOutcomes.from_bytes(self._remove(key)).events)

    def _remove(self, key: bytes) -> bytes:
        raw = self._state.pop(key)
        del self._arrival_ms[key]
        self.bytes -= _cost(key, raw)
        return raw


def _cost(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + ENTRY_BYTES
