"""Prometheus metrics of a feedback worker."""

from collections.abc import Mapping
from dataclasses import asdict

from prometheus_client import CollectorRegistry, Counter, Gauge

from stream.feedback.join import FeedbackJoin
from stream.feedback.join_counts import JoinCounts
from stream.messages.refusals import Refusals
from stream.metrics.lag import LagGauge


class FeedbackMetrics:
    """Metrics and refusals of a feedback worker, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.refusals = Refusals(self.registry)
        self._events = Counter(
            "weir_feedback_events",
            "What became of requests and outcomes in the join, by fate.",
            ["fate"],
            registry=self.registry,
        )
        self._pending = Gauge(
            "weir_feedback_pending",
            "Requests that wait for a label, by partition of the join.",
            ["partition"],
            registry=self.registry,
        )
        self._bytes = Gauge(
            "weir_feedback_held_bytes",
            "Memory of the requests and outcomes that are held, by partition of the join.",
            ["partition"],
            registry=self.registry,
        )
        self._budget = Gauge(
            "weir_feedback_budget_bytes",
            "Memory that they may take, by partition of the join.",
            ["partition"],
            registry=self.registry,
        )
        self._share = Gauge(
            "weir_feedback_keep_share",
            "Share of new requests that is kept, by id, by partition of the join.",
            ["partition"],
            registry=self.registry,
        )
        self._capacity = Gauge(
            "weir_feedback_capacity_requests",
            "Requests of ordinary size that fit into the memory of this worker.",
            registry=self.registry,
        )
        self._lag = LagGauge(
            "weir_feedback_lag_records",
            "Records not processed yet, by topic and partition.",
            self.registry,
        )

    def counts(self, before: JoinCounts, after: JoinCounts) -> None:
        """Count what a chunk changed."""
        old = asdict(before)
        for fate, count in asdict(after).items():
            self._events.labels(fate).inc(count - old[fate])

    def state(self, partition: int, join: FeedbackJoin) -> None:
        """Publish the state of one partition."""
        label = str(partition)
        self._pending.labels(label).set(join.pending)
        self._bytes.labels(label).set(join.held_bytes)
        self._budget.labels(label).set(join.budget_bytes)
        self._share.labels(label).set(join.sampler.share)

    def capacity(self, requests: int) -> None:
        """Publish how many requests fit."""
        self._capacity.set(requests)

    def forget(self) -> None:
        """Drop the metrics of all partitions, after a rebalance."""
        for gauge in (self._pending, self._bytes, self._budget, self._share):
            gauge.clear()

    def lag(self, lag: Mapping[tuple[str, int], int | None]) -> None:
        """Publish the known lag of each assigned partition; revoked ones disappear."""
        self._lag.publish(lag)
