"""The work that every contender does: Weir's own decoding, extraction, scoring, policy, headers.

A contender consumes records, passes them on as lists, and writes the outputs; only consuming and
writing differ. All of them get the artifact, batch sizes and garbage collector settings of a
Weir worker.
"""

import gc
import logging
import sys
from collections.abc import Sequence
from typing import Final, NamedTuple

from models.settings import Settings, load_settings
from stream.intercept.interceptor import Intercepted, Interceptor
from stream.intercept.loaded_model import load_model
from stream.metrics.worker import WorkerMetrics
from stream.policy import Policy
from stream.transport import FetchedRecord, Outgoing

#: Seconds between two commits of offsets: Weir's own, and the least among the peers' defaults.
COMMIT_S: Final = 1.0


class Fetched(NamedTuple):
    """A consumed record, for clients that use other attribute names."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    offset: int
    headers: Sequence[tuple[str, bytes | None]]


class Work:
    """Decides lists of records; made once per process.

    Attributes:
        settings: Settings from the environment.
    """

    def __init__(self) -> None:
        logging.basicConfig(level=logging.WARNING)
        self.settings: Settings = load_settings()
        worker = self.settings.worker
        self._interceptor = Interceptor(
            Policy(self.settings.policy, self.settings.task_set),
            WorkerMetrics(),
            max_value_bytes=worker.max_value_bytes,
        )
        self._interceptor.model = load_model(
            self.settings.model.artifact, self.settings.task_set, self.settings
        )
        gc.collect()
        gc.freeze()
        gc.set_threshold(100_000, 20, 100)
        sys.setswitchinterval(0.001)

    def decide(self, records: Sequence[FetchedRecord]) -> list[tuple[str, list[Outgoing]]]:
        """Output topics and what goes there, on the partition number of `records`."""
        result: Intercepted = self._interceptor.intercept(records)
        topics = self.settings.topics
        routes = (
            (topics.passed, result.passed),
            (topics.blocked, result.blocked),
            (topics.rejected, result.rejected),
        )
        return [(topic, outputs) for topic, outputs in routes if outputs]
