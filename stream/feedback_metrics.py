"""Prometheus metrics of a feedback worker."""

from collections.abc import Mapping
from dataclasses import asdict

from prometheus_client import CollectorRegistry, Counter, Gauge

from models.refusals import Refusals
from stream.join import JoinCounts


class FeedbackMetrics:
    """Counters of the collect and join agents, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.refusals = Refusals(self.registry)
        self._events = Counter(
            "weir_feedback_events",
            "What became of requests and outcomes in the join, by fate.",
            ["fate"],
            registry=self.registry,
        )
        self._malformed = Counter(
            "weir_feedback_malformed",
            "Records that could not be read, by source topic.",
            ["topic"],
            registry=self.registry,
        )
        self._pending = Gauge(
            "weir_feedback_pending",
            "Requests that wait for a label, by partition of the join.",
            ["partition"],
            registry=self.registry,
        )
        self._lag = Gauge(
            "weir_feedback_lag_records",
            "Records not processed yet, by topic and partition.",
            ["topic", "partition"],
            registry=self.registry,
        )

    def counts(self, before: JoinCounts, after: JoinCounts) -> None:
        """Add what a chunk changed."""
        old = asdict(before)
        for fate, count in asdict(after).items():
            self._events.labels(fate).inc(count - old[fate])

    def malformed(self, topic: str) -> None:
        """Count a record that could not be read."""
        self._malformed.labels(topic).inc()

    def pending(self, partition: int, requests: int) -> None:
        """Show the state of one partition."""
        self._pending.labels(str(partition)).set(requests)

    def forget(self) -> None:
        """Drop the partitions, after a rebalance."""
        self._pending.clear()

    def lag(self, lag: Mapping[tuple[str, int], int | None]) -> None:
        """Show the lag of every assigned partition where it is known; revoked ones disappear."""
        self._lag.clear()
        for (topic, partition), records in lag.items():
            if records is not None:
                self._lag.labels(topic, str(partition)).set(records)
