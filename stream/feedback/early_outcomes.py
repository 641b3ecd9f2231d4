"""Outcomes that came before their request, or without one: held a while, the oldest leave first."""

from collections import OrderedDict
from collections.abc import MutableMapping, Sequence
from typing import Final

from models.bounds import MAX_HELD_PER_REQUEST
from stream.feedback.join_counts import JoinCounts
from stream.feedback.pending import HeldOutcomes

#: Of the join's budget: what they may take.
HELD_PART: Final = 1 / 8
#: What an id takes in memory besides key and value: its slots in two tables.
ENTRY_BYTES: Final = 350


class EarlyOutcomes:
    """Those of one partition; they lie in the join's state, beside the requests.

    Args:
        state: The join's.
        tasks: Digest of the tasks that are joined.
        budget_bytes: Most memory of them.
        counts: Where held, repeated and dropped outcomes are counted.

    Attributes:
        bytes: Memory that they take.
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
        self._since: OrderedDict[bytes, int | None] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._since)

    def hold(self, key: bytes, task: int, ts: int, now_ms: int | None) -> None:
        """Hold an outcome of a request that is not there.

        Args:
            key: Id of the request.
            task: Index of the task.
            ts: Time of the event, ms.
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
        self._since.setdefault(key, now_ms)
        while self.bytes > self._budget_bytes:
            self._drop(next(iter(self._since)))

    def take(self, key: bytes) -> Sequence[tuple[int, int]]:
        """The outcomes of a request that has come: task and time of each."""
        if key not in self._since:
            return ()
        raw = self._forget(key)
        return HeldOutcomes.from_bytes(raw).events

    def start(self, now_ms: int) -> None:
        """Stream time begins: all that is held came then."""
        self._since = OrderedDict.fromkeys(self._since, now_ms)

    def drop_before(self, oldest_ms: int) -> None:
        """Drop what is held since before that time."""
        while self._since:
            key, since = next(iter(self._since.items()))
            if since is None or since >= oldest_ms:
                return
            self._drop(key)

    def recover(self, key: bytes, raw: bytes, now_ms: int | None) -> None:
        """Go on with an entry of the state; one of other tasks is dropped."""
        self._since[key] = now_ms
        self.bytes += _cost(key, raw)
        if HeldOutcomes.from_bytes(raw).tasks != self._tasks:
            self._drop(key)

    def _drop(self, key: bytes) -> None:
        self._counts.orphans += len(HeldOutcomes.from_bytes(self._forget(key)).events)

    def _forget(self, key: bytes) -> bytes:
        raw = self._state.pop(key)
        del self._since[key]
        self.bytes -= _cost(key, raw)
        return raw


def _cost(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + ENTRY_BYTES
