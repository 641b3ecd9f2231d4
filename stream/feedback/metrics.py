"""Prometheus metrics of a feedback worker."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter

from stream.feedback.example_maker import Made
from stream.messages.refusals import Refusals
from stream.metrics.lag import LagGauge


class FeedbackMetrics:
    """Metrics and refusals of a feedback worker, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.refusals = Refusals(self.registry)
        requests = Counter(
            "weir_feedback_requests",
            "Passed requests that were read, by fate: example, left-out (feedback.keep_share) or "
            "refused.",
            ["fate"],
            registry=self.registry,
        )
        self._examples = requests.labels("example")
        self._left_out = requests.labels("left-out")
        self._refused = requests.labels("refused")
        self._lag = LagGauge(
            "weir_feedback_lag_records",
            "Records not processed yet, by topic and partition.",
            self.registry,
        )

    def made(self, made: Made) -> None:
        """Count what became of a batch of passed requests."""
        self._examples.inc(len(made.examples))
        self._left_out.inc(made.left_out)
        self._refused.inc(made.refused)

    def lag(self, lag: Mapping[tuple[str, int], int | None]) -> None:
        """Publish the known lag of each assigned partition; revoked ones disappear."""
        self._lag.publish(lag)
