"""Prometheus metrics of an intercept worker: what the on-call engineer looks at first.

Counters and gauges are prometheus-client's own. Scores come by the hundred thousand, so their
histograms are counted by numpy, a chunk at a time, and handed over when Prometheus asks.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from models.refusals import Refusals
from stream.records import REASON_LABELS, RejectCode

STAGES = ("read", "score", "decide", "route", "produce")
SCORE_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
UNCERTAINTY_BUCKETS = (0.0003, 0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2, 0.5)
SECONDS_BUCKETS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075,
    0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
SIZE_BUCKETS = (1, 3, 10, 30, 100, 200, 500, 1000, 2000, 5000, 10_000)


class ArrayHistogram(Collector):
    """A histogram with one label whose observations arrive as arrays.

    Args:
        name: Metric name.
        documentation: Its help text.
        label: Name of the one label.
        bounds: Upper bounds of the buckets, increasing; +Inf is added.
    """

    def __init__(self, name: str, documentation: str, label: str, bounds: Sequence[float]) -> None:
        self._family = (name, documentation)
        self._label = label
        self._bounds = np.asarray(bounds, np.float64)
        self._counts: dict[str, npt.NDArray[np.int64]] = {}
        self._sums: dict[str, float] = {}

    def observe(self, value: str, observations_N: npt.NDArray[np.floating]) -> None:
        """Count ``observations_N`` under label value ``value``."""
        bins_N = np.searchsorted(self._bounds, observations_N, side="left")
        counts = np.bincount(bins_N, minlength=len(self._bounds) + 1)
        self._counts[value] = self._counts.get(value, np.int64(0)) + counts
        self._sums[value] = self._sums.get(value, 0.0) + float(observations_N.sum())

    def collect(self) -> Iterable[Metric]:
        """What Prometheus reads."""
        family = HistogramMetricFamily(*self._family, labels=[self._label])
        names = [*(str(bound) for bound in self._bounds.tolist()), "+Inf"]
        for value, counts in self._counts.items():
            buckets = list(zip(names, np.cumsum(counts).tolist(), strict=True))
            family.add_metric([value], buckets, self._sums[value])
        yield family


@dataclass(frozen=True, slots=True)
class ServingModel:
    """What the model gauges show: the version that serves and when it was made (epoch s)."""

    version: str
    created_s: float


class WorkerMetrics:
    """All metrics of one intercept worker, in a registry of their own.

    Attributes:
        registry: What Prometheus reads.
        refusals: Where messages that cannot be used are counted and logged.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.refusals = Refusals(registry)
        self._requests = Counter("weir_requests", "Requests consumed.", registry=registry)
        self._verdicts = Counter(
            "weir_verdicts",
            "Requests decided, by verdict and reason.",
            ["verdict", "reason"],
            registry=registry,
        )
        self._rejects = Counter(
            "weir_rejects", "Records sent to the dead-letter topic.", ["code"], registry=registry
        )
        self._achieved = Gauge(
            "weir_rate_achieved",
            "Share intercepted in the controller's window.",
            registry=registry,
        )
        self._target = Gauge("weir_rate_target", "Target share r.", registry=registry)
        self._threshold = Gauge(
            "weir_threshold", "Reward that is needed to pass by score.", registry=registry
        )
        self._scores = ArrayHistogram("weir_score", "Student's score.", "task", SCORE_BUCKETS)
        self._uncertainties = ArrayHistogram(
            "weir_uncertainty", "Student's uncertainty.", "task", UNCERTAINTY_BUCKETS
        )
        registry.register(self._scores)
        registry.register(self._uncertainties)
        self._stages = Histogram(
            "weir_stage_seconds",
            "Time of one stage for one chunk.",
            ["stage"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._chunk_seconds = Histogram(
            "weir_chunk_seconds",
            "Time from a chunk's arrival in the agent to its acknowledgement.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._chunk_records = Histogram(
            "weir_chunk_records", "Records in a chunk.", buckets=SIZE_BUCKETS, registry=registry
        )
        self._lag = Gauge(
            "weir_consumer_lag",
            "Records between the position and the end of the partition.",
            ["topic", "partition"],
            registry=registry,
        )
        self._fail_open = Gauge(
            "weir_fail_open", "1 while no model serves and everything passes.", registry=registry
        )
        self._model = Gauge(
            "weir_model_info", "The serving model: 1 for its version.", ["version"],
            registry=registry,
        )  # fmt: skip
        self._model_age = Gauge(
            "weir_model_age_seconds", "Age of the serving model.", registry=registry
        )
        self._swaps = Counter("weir_model_swaps", "Models put in service.", registry=registry)
        self._refusals = Counter(
            "weir_model_refusals", "Artifacts refused, by code.", ["code"], registry=registry
        )
        self._revision = Gauge(
            "weir_control_revision",
            "Offset of the newest message on the control topic that is in force; -1 for none.",
            registry=registry,
        )
        self._revision.set(-1)
        self._control_refusals = Counter(
            "weir_control_refusals", "Control messages refused.", ["topic"], registry=registry
        )
        self._fleet_shared = Gauge(
            "weir_fleet_shared",
            "1 while the rate is held together with the fleet, 0 while alone.",
            registry=registry,
        )
        for stage in STAGES:
            self._stages.labels(stage)
        for code in RejectCode:
            self._rejects.labels(code.value)
        self._verdict_children = {
            (passed, index): self._verdicts.labels("pass" if passed else "block", label)
            for passed, labels in ((True, REASON_LABELS), (False, REASON_LABELS[:1]))
            for index, label in enumerate(labels)
        }

    def serve(self, host: str, port: int) -> int:
        """Serve the registry over HTTP in a thread; returns the port (a free one for 0)."""
        server, _thread = start_http_server(port, host, registry=self.registry)
        return int(server.server_port)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage of one chunk."""
        start = time.perf_counter()
        yield
        self._stages.labels(name).observe(time.perf_counter() - start)

    def chunk(self, records: int, seconds: float) -> None:
        """Count a chunk that was acknowledged."""
        self._requests.inc(records)
        self._chunk_records.observe(records)
        self._chunk_seconds.observe(seconds)

    def verdicts(self, passed_N: npt.NDArray[np.bool_], reason_N: npt.NDArray[np.uint8]) -> None:
        """Count decisions."""
        for index in range(len(REASON_LABELS)):
            of_reason_N = reason_N == index
            passed = int(np.count_nonzero(of_reason_N & passed_N))
            blocked = int(np.count_nonzero(of_reason_N)) - passed
            if passed:
                self._verdict_children[True, index].inc(passed)
            if blocked:
                self._verdict_children[False, index].inc(blocked)

    def reject(self, code: RejectCode) -> None:
        """Count a record sent to the dead-letter topic."""
        self._rejects.labels(code.value).inc()

    def scored(
        self,
        tasks: Sequence[str],
        scores_NT: npt.NDArray[np.float32],
        uncertainties_NT: npt.NDArray[np.float32],
    ) -> None:
        """Count scores and uncertainties into their histograms."""
        for column, task in enumerate(tasks):
            self._scores.observe(task, scores_NT[:, column])
            self._uncertainties.observe(task, uncertainties_NT[:, column])

    def rate(self, *, target: float, achieved: float, threshold: float) -> None:
        """Show the controller's state."""
        self._target.set(target)
        self._achieved.set(achieved)
        self._threshold.set(threshold)

    def control_applied(self, revision: int) -> None:
        """Show the newest control message in force."""
        self._revision.set(revision)

    def control_refused(self, topic: str) -> None:
        """Count a message that was refused."""
        self._control_refusals.labels(topic).inc()

    def fleet(self, *, shared: bool) -> None:
        """Show whether the rate is held together with the fleet."""
        self._fleet_shared.set(shared)

    def lag(self, lag: Mapping[tuple[str, int], int | None]) -> None:
        """Show the lag of every assigned partition where it is known; revoked ones disappear."""
        self._lag.clear()
        for (topic, partition), records in lag.items():
            if records is not None:
                self._lag.labels(topic, str(partition)).set(records)

    def model(self, serving: ServingModel | None) -> None:
        """Show the serving model, or fail-open for None."""
        self._fail_open.set(serving is None)
        self._model.clear()
        if serving is None:
            self._model_age.set_function(lambda: 0.0)
            return
        created_s = serving.created_s
        self._model.labels(serving.version).set(1)
        self._model_age.set_function(lambda: time.time() - created_s)
        self._swaps.inc()

    def refused(self, code: str) -> None:
        """Count an artifact that was refused."""
        self._refusals.labels(code).inc()
