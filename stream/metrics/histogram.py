"""A Prometheus histogram whose observations arrive as arrays.

Scores number in the hundred thousands per second, so numpy counts them, a chunk at a time; the
buckets are built when Prometheus scrapes.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class ArrayHistogram(Collector):
    """A histogram with one label, or none, whose observations arrive as arrays.

    Args:
        name: Metric name.
        documentation: Its help text.
        label: Name of the one label; empty for none.
        bounds: Upper bounds of the buckets, increasing; +Inf is added.
    """

    def __init__(self, name: str, documentation: str, label: str, bounds: Sequence[float]) -> None:
        self._family = (name, documentation)
        self._label = label
        self._bounds = np.asarray(bounds, np.float64)
        self._counts: dict[str, npt.NDArray[np.int64]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, value: str, observations_N: npt.NDArray[np.floating]) -> None:
        """Count ``observations_N`` under label value ``value``, empty where there is no label."""
        bins_N = np.searchsorted(self._bounds, observations_N, side="left")
        counts = np.bincount(bins_N, minlength=len(self._bounds) + 1)
        self._counts[value] = self._counts.get(value, np.int64(0)) + counts
        self._sums[value] = self._sums.get(value, 0.0) + float(observations_N.sum())

    def collect(self) -> Iterable[Metric]:
        """Build the metric family for a scrape."""
        labels = [self._label] if self._label else []
        family = HistogramMetricFamily(*self._family, labels=labels)
        names = [*(str(bound) for bound in self._bounds.tolist()), "+Inf"]
        for value, counts in self._counts.items():
            buckets = list(zip(names, np.cumsum(counts).tolist(), strict=True))
            family.add_metric([value] if labels else [], buckets, self._sums[value])
        yield family
