"""The gauge of consumer lag by topic and partition."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge


class LagGauge:
    """Lag of the assigned partitions.

    Args:
        name: Metric name.
        documentation: Its help text.
        registry: Registry of the process.
    """

    def __init__(self, name: str, documentation: str, registry: CollectorRegistry) -> None:
        self._gauge = Gauge(name, documentation, ["topic", "partition"], registry=registry)

    def publish(self, lag: Mapping[tuple[str, int], int | None]) -> None:
        """Publish the known lag of each assigned partition; revoked ones disappear."""
        self._gauge.clear()
        for (topic, partition), records in lag.items():
            if records is not None:
                self._gauge.labels(topic, str(partition)).set(records)
