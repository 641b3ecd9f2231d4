"""The metric families of the trainer, by subject; each group registers its own."""

from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge

from trainer.service.schedule import Reason

RESULTS: Final = ("published", "held", "refused", "failed", "interrupted")
"""How a rebuild ends; an interrupted one goes on when the trainer is started again."""
FATES: Final = ("accepted", "refused")
"""Fates of a consumed record."""
_GATE: Final = ("gate", "task")


class _Families:
    """Families that are registered in one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def _gauge(self, name: str, documentation: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(name, documentation, labels, registry=self._registry)

    def _counter(self, name: str, documentation: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(name, documentation, labels, registry=self._registry)


class StoreFamilies(_Families):
    """What is consumed and stored."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.rows = self._gauge("weir_trainer_store_rows", "Examples in the store.")
        self.bytes = self._gauge("weir_trainer_store_bytes", "Size of the store, in bytes.")
        self.lag = self._gauge(
            "weir_trainer_lag",
            "Records that are not consumed yet, by topic and partition.",
            ["topic", "partition"],
        )
        self.consumed = {
            kind: self._counter(f"weir_trainer_{kind}", f"Consumed {kind}, by fate.", ["fate"])
            for kind in ("examples", "outcomes")
        }
        self.positives = self._counter(
            "weir_trainer_positives", "Accepted outcomes, by task.", ["task"]
        )
        self.watermark = self._gauge(
            "weir_trainer_watermark_timestamp_seconds",
            "Event time up to which all outcomes have been read, in seconds since the epoch; 0 "
            "before the first request.",
        )
        self.progress = self._gauge(
            "weir_trainer_last_progress_timestamp_seconds",
            "Last time when brokers answered and examples could be stored, in seconds since "
            "the epoch.",
        )
        self.errors = self._counter(
            "weir_trainer_errors", "Errors after which the trainer retries, by kind.", ["kind"]
        )
        for counter in self.consumed.values():
            for fate in FATES:
                counter.labels(fate)


class ScheduleFamilies(_Families):
    """What waits for the next rebuild, and why rebuilds start."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.examples = self._gauge(
            "weir_trainer_waiting_examples",
            "Examples whose labels have all become final since the last rebuild started.",
        )
        self.labels = self._gauge(
            "weir_trainer_waiting_labels",
            "Labels that have become final since the last rebuild started, by task.",
            ["task"],
        )
        self.next = self._gauge(
            "weir_trainer_next_rebuild_timestamp_seconds",
            "Next time of trainer.schedule, in seconds since the epoch; 0 without a schedule.",
        )
        self.reasons = self._counter(
            "weir_trainer_rebuilds_started", "Rebuilds started, by reason.", ["reason"]
        )
        for reason in Reason:
            self.reasons.labels(reason)


class RebuildFamilies(_Families):
    """The rebuild that runs, the last one, and its candidate."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.running = self._gauge(
            "weir_trainer_rebuilding", "1 while a rebuild is running, else 0."
        )
        self.began = self._gauge(
            "weir_trainer_rebuild_started_timestamp_seconds",
            "Start of the last rebuild, in seconds since the epoch; 0 before.",
        )
        self.results = self._counter("weir_trainer_rebuilds", "Rebuilds by result.", ["result"])
        self.ended = self._gauge(
            "weir_trainer_last_rebuild_timestamp_seconds",
            "End of the last rebuild, whatever its result, in seconds since the epoch; 0 before.",
        )
        self.duration = self._gauge(
            "weir_trainer_last_rebuild_duration_seconds",
            "Duration of the last rebuild, in seconds.",
        )
        self.last = self._gauge(
            "weir_trainer_last_rebuild_info",
            "The last rebuild that ended: its reason, its result and its candidate; always 1.",
            ["reason", "result", "version"],
        )
        self.refused = self._gauge(
            "weir_trainer_refused_in_row",
            "Candidates that were refused since the last one was published.",
        )
        for result in RESULTS:
            self.results.labels(result)


class GateFamilies(_Families):
    """The gates of the last candidate."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry)
        self.passed = self._gauge(
            "weir_trainer_gate_passed",
            "Result of each gate for the last candidate: 1 passed or waived, 0 failed or held.",
            _GATE,
        )
        self.figure = self._gauge(
            "weir_trainer_gate_figure", "What each gate compared, of the last candidate.", _GATE
        )
        self.limit = self._gauge(
            "weir_trainer_gate_limit",
            "The worst figure with which each gate passes.",
            _GATE,
        )
