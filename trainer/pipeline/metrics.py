"""Prometheus metrics of the trainer."""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from stream.messages.refusals import Refusals
from trainer.gates.report import GateResult

RESULTS: Final = ("published", "held", "refused", "failed")
"""Results of a rebuild."""


class TrainerMetrics:
    """The trainer's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.refusals = Refusals(self.registry)
        self._rows = self._gauge("weir_trainer_store_rows", "Examples in the store.")
        self._lag = Gauge(
            "weir_trainer_lag",
            "Examples that are not consumed yet, by partition.",
            ["partition"],
            registry=self.registry,
        )
        self._examples = Counter(
            "weir_trainer_examples",
            "Consumed examples, by fate; mature ones have labels for all tasks.",
            ["fate"],
            registry=self.registry,
        )
        self._waiting = self._gauge(
            "weir_trainer_waiting_examples", "New mature examples since the last rebuild started."
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
            "Result of each gate for the last candidate: 1 passed or waived, 0 failed or held.",
            ["gate", "task"],
            registry=self.registry,
        )
        self._errors = Counter(
            "weir_trainer_errors",
            "Errors after which the trainer retries, by kind.",
            ["kind"],
            registry=self.registry,
        )
        for fate in ("mature", "immature", "refused"):
            self._examples.labels(fate)
        for result in RESULTS:
            self._rebuilds.labels(result)

    def consumed(self, fate: str) -> None:
        """Count an example: ``mature``, ``immature`` or ``refused``."""
        self._examples.labels(fate).inc()

    def state(self, rows: int, waiting: int, lag: Mapping[int, int]) -> None:
        """Set the gauges of stored examples, examples for the next rebuild, and consumer lag."""
        self._rows.set(rows)
        self._waiting.set(waiting)
        self._lag.clear()
        for partition, records in lag.items():
            self._lag.labels(str(partition)).set(records)

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
        """Count an error of a kind: ``store``, ``announce`` or ``part``."""
        self._errors.labels(kind).inc()

    def _gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(name, documentation, registry=self.registry)
