"""Readiness and liveness of a process, for its probes and metrics.

Ready: every condition that was declared at the start is met (partitions are assigned, a model
serves, the brokers respond). Alive: no heartbeat is older than its limit. Heartbeats come from
activities that must not stop, such as the event loop; the thread that serves the probe evaluates
them, so that it detects a blocked process. One thread writes, any thread may read.
"""

import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Clock = Callable[[], float]


class Health(Collector):
    """Conditions and heartbeats of one process.

    Args:
        role: Role of the process: ``worker``, ``feedback`` or ``trainer``.
        conditions: Names of the conditions of readiness; none is met at first.
        clock: Monotonic clock, in seconds.
    """

    def __init__(self, role: str, conditions: Iterable[str], clock: Clock = time.monotonic) -> None:
        self.role = role
        self._clock = clock
        self._unmet: dict[str, str] = dict.fromkeys(conditions, "not yet")
        self._conditions = tuple(self._unmet)
        self._beats: dict[str, tuple[float, float]] = {}

    def met(self, condition: str) -> None:
        """Mark a condition as met."""
        self._unmet.pop(condition, None)

    def unmet(self, condition: str, reason: str) -> None:
        """Mark a condition as not met, with the reason."""
        self._unmet[condition] = reason

    def beat(self, activity: str, limit_s: float) -> None:
        """Record a heartbeat of an activity; it is stalled unless the next one comes in time.

        Args:
            activity: Name of the activity, such as ``event loop``.
            limit_s: Maximum seconds until the next heartbeat.
        """
        self._beats[activity] = (self._clock(), limit_s)

    def unready(self) -> dict[str, str]:
        """Reason by unmet condition; empty while the process is ready."""
        return dict(self._unmet)

    def stalled(self) -> dict[str, float]:
        """Seconds since the last heartbeat, by stalled activity; empty while none is stalled."""
        now_s = self._clock()
        return {
            activity: now_s - beat_s
            for activity, (beat_s, limit_s) in self._beats.copy().items()
            if now_s - beat_s > limit_s
        }

    def collect(self) -> Iterator[Metric]:
        """The metrics that Prometheus scrapes."""
        unmet, beats, now_s = self.unready(), self._beats.copy(), self._clock()
        ready = GaugeMetricFamily(
            "weir_ready", "1 while the process is ready, 0 otherwise.", labels=["role"]
        )
        ready.add_metric([self.role], 0.0 if unmet else 1.0)
        yield ready
        conditions = GaugeMetricFamily(
            "weir_ready_condition",
            "1 while a condition of readiness is met, 0 otherwise.",
            labels=["role", "condition"],
        )
        for condition in self._conditions:
            conditions.add_metric([self.role, condition], 0.0 if condition in unmet else 1.0)
        yield conditions
        ages = GaugeMetricFamily(
            "weir_heartbeat_age_seconds",
            "Seconds since the last heartbeat of an activity.",
            labels=["role", "heartbeat"],
        )
        for activity, (beat_s, _limit_s) in beats.items():
            ages.add_metric([self.role, activity], now_s - beat_s)
        yield ages
