"""The state of the feedback join as a Faust table, written to its changelog in batches.

A stock table sends changelog records one at a time, with a future each, and its memory store does
not know which partition a key belongs to. This one keeps a mapping per partition and tracks the
changes; the feedback app writes those of a whole chunk at once, in an order from which a crash at
any point can recover: entries, then the progress that covers them, then deletions.
"""

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any

from faust.stores.memory import Store
from faust.tables.table import Table
from faust.types import TP, AppT, EventT

from stream.feedback.pending import PROGRESS_KEY, check_entry
from stream.messages.refusals import Refusals

Change = tuple[bytes, bytes | None]


class JoinState(MutableMapping[bytes, bytes]):
    """State of one partition, which tracks the changes since the last `take_changes`."""

    def __init__(self, entries: dict[bytes, bytes] | None = None) -> None:
        self._entries = {} if entries is None else entries
        self._set: set[bytes] = set()
        self._deleted: set[bytes] = set()

    def __getitem__(self, key: bytes) -> bytes:
        return self._entries[key]

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self._entries[key] = value
        self._set.add(key)
        self._deleted.discard(key)

    def __delitem__(self, key: bytes) -> None:
        del self._entries[key]
        self._set.discard(key)
        self._deleted.add(key)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def changed(self) -> bool:
        """Whether there are changes to write."""
        return bool(self._set or self._deleted)

    def recover(self, key: bytes, value: bytes | None) -> None:
        """Apply a changelog record without tracking it as a change."""
        if value is None:
            self._entries.pop(key, None)
        else:
            self._entries[key] = value

    def take_changes(self, progress: bytes) -> list[Change]:
        """The changelog records of all changes, in the order in which they must be written."""
        changes: list[Change] = [(key, self._entries[key]) for key in self._set]
        self._entries[PROGRESS_KEY] = progress
        changes.append((PROGRESS_KEY, progress))
        changes += [(key, None) for key in self._deleted]
        self._set.clear()
        self._deleted.clear()
        return changes


class PartitionedStore(Store):  # type: ignore[misc]
    """Faust's memory store with a mapping per partition."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.states: dict[int, JoinState] = {}

    def apply_changelog_batch(
        self,
        batch: Iterable[EventT],
        to_key: Callable[[Any], Any],  # noqa: ARG002 - keys are bytes
        to_value: Callable[[Any], Any],  # noqa: ARG002 - values are bytes
    ) -> None:
        """Apply changelog records in order; those that no join wrote are refused."""
        for event in batch:
            message = event.message
            with self.table.refusals.guard(message, "not recovered"):
                check_entry(message.key, message.value)
                state = self.states.setdefault(message.partition, JoinState())
                state.recover(message.key, message.value)

    async def on_rebalance(
        self,
        assigned: set[TP],  # noqa: ARG002
        revoked: set[TP],
        newly_assigned: set[TP],  # noqa: ARG002
        generation_id: int = 0,  # noqa: ARG002
    ) -> None:
        """Drop the state of revoked partitions."""
        for tp in revoked:
            if tp.topic == self.table.changelog_topic_name:
                self.states.pop(tp.partition, None)

    async def on_recovery_completed(self, active_tps: set[TP], standby_tps: set[TP]) -> None:
        """Nothing to do: recovered entries are applied as they are read."""


class JoinTable(Table[bytes, bytes]):  # type: ignore[misc]
    """The Faust table behind the join: recovered by Faust, written through `take_changes`.

    Args:
        app: The Faust app.
        refusals: Counts and logs records that cannot be recovered.
        options: Options of Faust's table.
    """

    def __init__(self, app: AppT, refusals: Refusals, **options: Any) -> None:
        super().__init__(app, key_type=bytes, value_type=bytes, **options)
        self.refusals = refusals

    def _new_store(self) -> PartitionedStore:
        return PartitionedStore(
            self._store or self.app.conf.store,
            self.app,
            self,
            table_name=self.name,
            key_type=bytes,
            value_type=bytes,
            loop=self.loop,
        )

    def partition(self, number: int) -> JoinState:
        """State of one partition."""
        states: dict[int, JoinState] = self.data.states
        return states.setdefault(number, JoinState())

    @property
    def partitions_held(self) -> list[int]:
        """Numbers of the partitions whose state this worker holds."""
        return sorted(self.data.states)
