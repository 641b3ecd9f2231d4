"""Prometheus metrics of the trainer."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry

from stream.messages.refusals import Refusals
from trainer.gates.report import GateResult
from trainer.service.families import (
    FATES,
    GateFamilies,
    RebuildFamilies,
    ScheduleFamilies,
    StoreFamilies,
)
from trainer.service.quality_metrics import QualityMetrics
from trainer.service.schedule import Schedule, Trigger

Lag = Mapping[TopicPartition, int]


class StoreSize(Protocol):
    """The size of an example store."""

    @property
    def rows(self) -> int:
        """Number of stored examples."""
        ...

    @property
    def bytes(self) -> int:
        """Size of its files."""
        ...


class TrainerMetrics:
    """The trainer's metrics, in a registry of their own.

    Attributes:
        registry: The registry.
        refusals: Counts and logs refused messages.
        quality: Label maturity, live quality and drift.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.refusals = Refusals(self.registry)
        self._store = StoreFamilies(self.registry)
        self._schedule = ScheduleFamilies(self.registry)
        self._rebuild = RebuildFamilies(self.registry)
        self._gates = GateFamilies(self.registry)
        self.quality = QualityMetrics(self.registry)

    def consumed(self, kind: str, *, accepted: bool) -> None:
        """Count a record of a kind, ``examples`` or ``outcomes``."""
        self._store.consumed[kind].labels(FATES[0] if accepted else FATES[1]).inc()

    def positive(self, task: str) -> None:
        """Count an accepted outcome of a task."""
        self._store.positives.labels(task).inc()

    def state(
        self, store: StoreSize, schedule: Schedule, watermark_ms: int | None, lag: Lag
    ) -> None:
        """Set the gauges of the store, of what waits for the next rebuild, and of the lag."""
        self._store.watermark.set((watermark_ms or 0) / 1000)
        self._store.rows.set(store.rows)
        self._store.bytes.set(store.bytes)
        self._schedule.examples.set(schedule.examples)
        for task, labels in schedule.labels.items():
            self._schedule.labels.labels(task).set(labels)
        self._schedule.next.set(schedule.next_s or 0)
        self._store.lag.clear()
        for tp, records in lag.items():
            self._store.lag.labels(tp.topic, str(tp.partition)).set(records)

    def progressed(self, now_s: float) -> None:
        """Record that brokers answer and that consumed examples can be stored."""
        self._store.progress.set(now_s)

    def rebuild_started(self, trigger: Trigger, now_s: float) -> None:
        """Record the start of a rebuild."""
        self._rebuild.running.set(1)
        self._rebuild.began.set(now_s)
        self._schedule.reasons.labels(trigger.reason).inc()

    def rebuild_finished(
        self, trigger: Trigger, result: str, version: str, now_s: float, duration_s: float
    ) -> None:
        """Record the end of a rebuild; without a candidate, `version` is empty."""
        self._rebuild.running.set(0)
        self._rebuild.results.labels(result).inc()
        self._rebuild.ended.set(now_s)
        self._rebuild.duration.set(duration_s)
        self._rebuild.last.clear()
        self._rebuild.last.labels(trigger.reason, result, version).set(1)

    def refused_in_row(self, number: int) -> None:
        """Set the number of candidates that were refused since the last one was published."""
        self._rebuild.refused.set(number)

    def gates(self, verdicts: Iterable[GateResult]) -> None:
        """Set the gauges of the gates."""
        gates = self._gates
        for family in (gates.passed, gates.figure, gates.limit):
            family.clear()
        for gate in verdicts:
            labels = (gate.gate, gate.task or "")
            gates.passed.labels(*labels).set(gate.passed)
            for family, figure in ((gates.figure, gate.figure), (gates.limit, gate.limit)):
                if figure is not None:
                    family.labels(*labels).set(figure)

    def error(self, kind: str) -> None:
        """Count an error: store, lease, file, maintenance, announce, killed, quality."""
        self._store.errors.labels(kind).inc()
