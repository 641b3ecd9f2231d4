"""Collects the entries of a journal in memory, in the order of what happened.

Everything that is recorded happens on the worker's event loop, between two of its turns, so the
order of the calls is the order of the entries. Nothing here waits: the writer takes what has been
collected, several times a second.
"""

from collections.abc import Sequence
from importlib.metadata import version
from itertools import pairwise
from operator import attrgetter
from typing import Final, Protocol

import numpy as np
import orjson

from models.settings import Settings
from stream.messages.journal import (
    BatchDecided,
    Entry,
    ModelLoaded,
    Run,
    Started,
    write_entries,
    write_entry,
)
from stream.transport import FetchedRecord

MAX_PENDING_BYTES: Final = 32 << 20
"""Bytes that may wait for the brokers: minutes of a busy worker, which cannot write its outputs
then, either."""

_PARTITION: Final = attrgetter("partition")
_OFFSET: Final = attrgetter("offset")


class NamedModel(Protocol):
    """What the journal says of a model."""

    version: str
    manifest_sha256: str


class Recorder:
    """The journal of one worker, as far as it is not written yet.

    Args:
        max_pending_bytes: If more than this waits, the journal ends: entries after a gap would be
            useless.

    Attributes:
        ended: Whether it has ended for that reason.
    """

    def __init__(self, max_pending_bytes: int = MAX_PENDING_BYTES) -> None:
        self._max_pending_bytes = max_pending_bytes
        self._entries: list[bytes] = []
        self._size = 0
        self._models: dict[tuple[str, str], int] = {}
        self.ended = False

    def add(self, entry: Entry) -> None:
        """Add an entry."""
        if self.ended:
            return
        raw = write_entry(entry)
        self._entries.append(raw)
        self._size += len(raw)
        if self._size > self._max_pending_bytes:
            self.ended = True
            self._entries, self._size = [], 0

    def start(self, worker: str, at_ms: int, settings: Settings) -> None:
        """Add the first entry."""
        self.add(Started(worker, at_ms, version("weir"), write_settings(settings)))

    def batch(
        self, records: Sequence[FetchedRecord], now_ms: int, model: NamedModel | None
    ) -> None:
        """Add that a batch of at least one record is decided now.

        Args:
            records: The records, rejects included.
            now_ms: Wall-clock time that the policy is given.
            model: The model that decides; None for none.
        """
        number = 0 if model is None else self._number(model)
        self.add(BatchDecided(now_ms, number, runs_of(records)))

    def take(self) -> bytes:
        """The entries since the last call, as one list; empty if there are none."""
        if not self._entries:
            return b""
        entries, self._entries, self._size = self._entries, [], 0
        return write_entries(entries)

    def _number(self, model: NamedModel) -> int:
        key = (model.version, model.manifest_sha256)
        number = self._models.get(key)
        if number is None:
            number = self._models[key] = len(self._models) + 1
            self.add(ModelLoaded(number, *key))
        return number


def runs_of(records: Sequence[FetchedRecord]) -> tuple[Run, ...]:
    """The runs of a batch: cut where the partition changes, and where offsets do not rise."""
    count = len(records)
    partition_N = np.fromiter(map(_PARTITION, records), np.int64, count)
    offset_N = np.fromiter(map(_OFFSET, records), np.int64, count)
    cut_N = (np.diff(partition_N) != 0) | (np.diff(offset_N) <= 0)
    bounds = [0, *(np.flatnonzero(cut_N) + 1).tolist(), count]
    return tuple(
        Run(
            int(partition_N[first]),
            int(offset_N[first]),
            int(offset_N[end - 1] - offset_N[first]),
            end - first,
        )
        for first, end in pairwise(bounds)
    )


def write_settings(settings: Settings) -> bytes:
    """JSON of the settings that decisions depend on."""
    worker = settings.worker
    return orjson.dumps(
        {
            "policy": settings.policy.model_dump(mode="json"),
            "tasks": [task.model_dump(mode="json") for task in settings.task_set],
            "worker": {
                "max_value_bytes": worker.max_value_bytes,
                "score_batch": worker.score_batch,
                "score_threads": worker.score_threads,
            },
        }
    )
