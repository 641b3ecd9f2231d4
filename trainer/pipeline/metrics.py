"""Prometheus metrics of the trainer."""

from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from stream.messages.refusals import Refusals
from trainer.evaluation.gates import GateResult

#: Results of a rebuild.
RESULTS: Final = ("published", "refused", "failed")


class TrainerMetrics:
    """What the trainer shows, in a registry of its own."""

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
            "Examples consumed: mature ones have the labels of all tasks.",
            ["fate"],
            registry=self.registry,
        )
        self._waiting = self._gauge(
            "weir_trainer_waiting_examples", "New mature examples since the last rebuild began."
        )
        self._progress = self._gauge(
            "weir_trainer_last_progress_timestamp_seconds",
            "When brokers last answered while the disk took what they gave; seconds since the "
            "epoch.",
        )
        self._rebuilds = Counter(
            "weir_trainer_rebuilds", "Rebuilds by result.", ["result"], registry=self.registry
        )
        self._rebuilt = self._gauge(
            "weir_trainer_last_rebuild_timestamp_seconds",
            "When the last rebuild ended, whatever its result; seconds since the epoch, 0 before.",
        )
        self._duration = self._gauge(
            "weir_trainer_last_rebuild_duration_seconds", "How long the last rebuild took."
        )
        self._rebuilding = self._gauge("weir_trainer_rebuilding", "1 while a rebuild goes on.")
        self._gates = Gauge(
            "weir_trainer_gate_passed",
            "What each gate found of the last candidate: 1 passed, 0 failed.",
            ["gate", "task"],
            registry=self.registry,
        )
        self._errors = Counter(
            "weir_trainer_errors",
            "What did not work and is tried again, by kind.",
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
        """Show what is stored, what the next rebuild has to learn, and what is not consumed."""
        self._rows.set(rows)
        self._waiting.set(waiting)
        self._lag.clear()
        for partition, records in lag.items():
            self._lag.labels(str(partition)).set(records)

    def progressed(self, now_s: float) -> None:
        """Brokers answer, and what they gave is stored or about to be."""
        self._progress.set(now_s)

    def began(self) -> None:
        """A rebuild began."""
        self._rebuilding.set(1)

    def ended(self, result: str, now_s: float, duration_s: float) -> None:
        """A rebuild ended."""
        self._rebuilding.set(0)
        self._rebuilds.labels(result).inc()
        self._rebuilt.set(now_s)
        self._duration.set(duration_s)

    def gates(self, verdicts: Iterable[GateResult]) -> None:
        """Show what the gates found."""
        self._gates.clear()
        for gate in verdicts:
            self._gates.labels(gate.gate, gate.task or "").set(gate.passed)

    def error(self, kind: str) -> None:
        """Count what is tried again: ``store``, ``fetch``, ``announce``, ``part``, ``connect``."""
        self._errors.labels(kind).inc()

    def _gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(name, documentation, registry=self.registry)
