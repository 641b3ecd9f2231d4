"""Whether a process is ready and alive, as its probes and its metrics tell it.

Ready: every condition that was named at the start is met (partitions are assigned, a model serves,
the brokers answer). Alive: no heartbeat is older than its limit. Heartbeats are given by whatever
must go on, such as the event loop, and judged by the thread that answers the probe, so that a
process that stands still is seen by it. Written by one thread, read by any.
"""

import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

Clock = Callable[[], float]


class Health(Collector):
    """Conditions and heartbeats of one process.

    Args:
        role: What the process is: ``worker``, ``feedback`` or ``trainer``.
        conditions: What must be met before it is ready; none is at first.
        clock: Seconds, monotonic.
    """

    def __init__(self, role: str, conditions: Iterable[str], clock: Clock = time.monotonic) -> None:
        self.role = role
        self._clock = clock
        self._unmet: dict[str, str] = dict.fromkeys(conditions, "not yet")
        self._conditions = tuple(self._unmet)
        self._beats: dict[str, tuple[float, float]] = {}

    def met(self, condition: str) -> None:
        """A condition is met now."""
        self._unmet.pop(condition, None)

    def unmet(self, condition: str, reason: str) -> None:
        """A condition is not met, or no longer; says why."""
        self._unmet[condition] = reason

    def beat(self, what: str, limit_s: float) -> None:
        """Something that must go on does; unless this is called again in time, it stands still.

        Args:
            what: What goes on, such as ``event loop``.
            limit_s: How long it may take until the next call.
        """
        self._beats[what] = (self._clock(), limit_s)

    def rest(self, what: str) -> None:
        """Nothing is left to do of this kind, so that it cannot stand still."""
        self._beats.pop(what, None)

    def unready(self) -> dict[str, str]:
        """Reason by unmet condition; empty while the process is ready."""
        return dict(self._unmet)

    def stalled(self) -> dict[str, float]:
        """Seconds since the last heartbeat of what stands still; empty while all go on."""
        now_s = self._clock()
        return {
            what: now_s - beat_s
            for what, (beat_s, limit_s) in self._beats.copy().items()
            if now_s - beat_s > limit_s
        }

    def collect(self) -> Iterator[Metric]:
        """What Prometheus reads."""
        unmet, beats, now_s = self.unready(), self._beats.copy(), self._clock()
        ready = GaugeMetricFamily(
            "weir_ready", "1 while the process is ready to work, 0 otherwise.", labels=["role"]
        )
        ready.add_metric([self.role], 0.0 if unmet else 1.0)
        yield ready
        conditions = GaugeMetricFamily(
            "weir_ready_condition",
            "1 while a condition of being ready is met.",
            labels=["role", "condition"],
        )
        for condition in self._conditions:
            conditions.add_metric([self.role, condition], 0.0 if condition in unmet else 1.0)
        yield conditions
        ages = GaugeMetricFamily(
            "weir_heartbeat_age_seconds",
            "Time since something that must go on last did.",
            labels=["role", "heartbeat"],
        )
        for what, (beat_s, _limit_s) in beats.items():
            ages.add_metric([self.role, what], now_s - beat_s)
        yield ages
