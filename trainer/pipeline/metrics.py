"""Prometheus metrics of the trainer."""

from collections.abc import Iterable, Mapping
from typing import Final

from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry, Counter, Gauge

from stream.messages.refusals import Refusals
from trainer.evaluation.gates import GateResult

RESULTS: Final = ("published", "refused", "failed")
"""Results of a rebuild."""
FATES: Final = ("accepted", "refused")
"""Fates of a consumed record."""


class TrainerMetrics:
    """The trainer's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.refusals = Refusals(self.registry)
        self._rows = self._gauge("weir_trainer_store_rows", "Examples in the store.")
        self._lag = Gauge(
            "weir_trainer_lag",
            "Records that are not consumed yet, by topic and partition.",
            ["topic", "partition"],
            registry=self.registry,
        )
        self._consumed = {
            kind: Counter(
                f"weir_trainer_{kind}",
                f"Consumed {kind}, by fate.",
                ["fate"],
                registry=self.registry,
            )
            for kind in ("examples", "outcomes")
        }
        self._watermark = self._gauge(
            "weir_trainer_watermark_timestamp_seconds",
            "Event time up to which all outcomes have been read, in seconds since the epoch; 0 "
            "before the first request.",
        )
        self._waiting = self._gauge(
            "weir_trainer_waiting_examples",
            "Examples whose labels have become final since the last rebuild started.",
        )
        self._progress = self._gauge(
            "weir_trainer_last_progress_timestamp_seconds",
            "Last time when brokers answered and examples could be stored, in seconds since "
            "the epoch.",
        )
        self._rebuilds = Counter(
            "weir_trainer_rebuilds", "Rebuilds by result.", ["result"], registry=self.registry
        )
        self._rebuilt = self._gauge(
            "weir_trainer_last_rebuild_timestamp_seconds",
            "End of the last rebuild, whatever its result, in seconds since the epoch; 0 before.",
        )
        self._duration = self._gauge(
            "weir_trainer_last_rebuild_duration_seconds",
            "Duration of the last rebuild, in seconds.",
        )
        self._rebuilding = self._gauge(
            "weir_trainer_rebuilding", "1 while a rebuild is running, else 0."
        )
        self._gates = Gauge(
            "weir_trainer_gate_passed",
            "Result of each gate for the last candidate: 1 passed, 0 failed.",
            ["gate", "task"],
            registry=self.registry,
        )
        self._errors = Counter(
            "weir_trainer_errors",
            "Errors after which the trainer retries, by kind.",
            ["kind"],
            registry=self.registry,
        )
        for counter in self._consumed.values():
            for fate in FATES:
                counter.labels(fate)
        for result in RESULTS:
            self._rebuilds.labels(result)

    def consumed(self, kind: str, *, accepted: bool) -> None:
        """Count a record of a kind, ``examples`` or ``outcomes``."""
        self._consumed[kind].labels(FATES[0] if accepted else FATES[1]).inc()

    def state(
        self, rows: int, waiting: int, watermark_ms: int | None, lag: Mapping[TopicPartition, int]
    ) -> None:
        """Set the gauges of the store, of examples for the next rebuild, and of consumer lag."""
        self._rows.set(rows)
        self._waiting.set(waiting)
        self._watermark.set((watermark_ms or 0) / 1000)
        self._lag.clear()
        for tp, records in lag.items():
            self._lag.labels(tp.topic, str(tp.partition)).set(records)

    def progressed(self, now_s: float) -> None:
        """Record that brokers answer and that consumed examples can be stored."""
        self._progress.set(now_s)

    def rebuild_started(self) -> None:
        """Record the start of a rebuild."""
        self._rebuilding.set(1)

    def rebuild_finished(self, result: str, now_s: float, duration_s: float) -> None:
        """Record the end of a rebuild."""
        self._rebuilding.set(0)
        self._rebuilds.labels(result).inc()
        self._rebuilt.set(now_s)
        self._duration.set(duration_s)

    def gates(self, verdicts: Iterable[GateResult]) -> None:
        """Set the gauges of the gates."""
        self._gates.clear()
        for gate in verdicts:
            self._gates.labels(gate.gate, gate.task or "").set(gate.passed)

    def error(self, kind: str) -> None:
        """Count an error: ``store``, ``lease``, ``file``, ``maintenance`` or ``announce``."""
        self._errors.labels(kind).inc()

    def _gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(name, documentation, registry=self.registry)
