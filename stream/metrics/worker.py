"""Prometheus metrics of an intercept worker: what the on-call engineer looks at first.

Counters and gauges are prometheus-client's own; what comes by the request is counted by arrays
(`histogram.py`).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from stream.messages import REASON_LABELS, RejectCode
from stream.messages.refusals import Refusals
from stream.metrics.histogram import ArrayHistogram

STAGES = ("read", "score", "decide", "route")
"""They follow one another, so that their times add up; writing goes on beside them."""
LATENCY_BUCKETS = (
    0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0,
    30.0, 60.0, 300.0,
)  # fmt: skip
AHEAD_MS = 5_000
"""A record whose timestamp is further ahead of this clock has no latency; less counts as none."""
OLD_MS = 86_400_000
"""Nor has one that is older than a day: replayed, or its clock is wrong."""
SCORE_BUCKETS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
UNCERTAINTY_BUCKETS = (0.0003, 0.001, 0.003, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.2, 0.5)
SECONDS_BUCKETS = (
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075,
    0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
SIZE_BUCKETS = (1, 3, 10, 30, 100, 200, 500, 1000, 2000, 5000, 10_000)


@dataclass(frozen=True, slots=True)
class ServingModel:
    """What the model gauges show: the version that serves and when it was made (epoch s)."""

    version: str
    created_s: float


class WorkerMetrics:
    """All metrics of one intercept worker, in a registry of their own.

    Args:
        clock: Seconds since the epoch, which latencies end at.

    Attributes:
        registry: What Prometheus reads.
        refusals: Where messages that cannot be used are counted and logged.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._writes = 0
        self._writing_since_s = 0.0
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
        self._target = Gauge(
            "weir_rate_target",
            "Share of the requests decided last that settings, budget and capacity ask for.",
            registry=registry,
        )
        self._due = Counter(
            "weir_intercepts_due",
            "Requests that settings, budgets and capacities asked to intercept.",
            registry=registry,
        )
        self._capacity = Gauge(
            "weir_capacity",
            "Requests per second that all workers together may pass; 0 without a limit.",
            registry=registry,
        )
        self._threshold = Gauge(
            "weir_threshold", "Reward that is needed to pass by score.", registry=registry
        )
        self._distrusted = Counter(
            "weir_distrusted_stamps",
            "Timestamps of requests that the stream's clock did not follow.",
            registry=registry,
        )
        self._distrusted_before = 0
        self._scores = ArrayHistogram("weir_score", "Student's score.", "task", SCORE_BUCKETS)
        self._uncertainties = ArrayHistogram(
            "weir_uncertainty", "Student's uncertainty.", "task", UNCERTAINTY_BUCKETS
        )
        registry.register(self._scores)
        registry.register(self._uncertainties)
        self._stages = Histogram(
            "weir_stage_seconds",
            "Time of one stage for at most 1,024 requests.",
            ["stage"],
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._write_seconds = Histogram(
            "weir_write_seconds",
            "Time until a chunk's outputs are acknowledged; several chunks are written at a time.",
            buckets=SECONDS_BUCKETS,
            registry=registry,
        )
        self._writing = Counter(
            "weir_writing_seconds",
            "Time in which at least one chunk was being written.",
            registry=registry,
        )
        self._latency = ArrayHistogram(
            "weir_latency_seconds",
            "Time from a request's own timestamp to the acknowledgement of its output.",
            "",
            LATENCY_BUCKETS,
        )
        registry.register(self._latency)
        self._latency_ignored = Counter(
            "weir_latency_ignored",
            "Requests whose timestamp is far ahead, or older than a day.",
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

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage of a step."""
        start = time.perf_counter()
        yield
        self._stages.labels(name).observe(time.perf_counter() - start)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Time one chunk's writing, and that anything is being written at all."""
        start = time.perf_counter()
        if self._writes == 0:
            self._writing_since_s = start
        self._writes += 1
        try:
            yield
            self._write_seconds.observe(time.perf_counter() - start)
        finally:
            self._writes -= 1
            if self._writes == 0:
                self._writing.inc(time.perf_counter() - self._writing_since_s)

    def latency(self, timestamps_N: npt.NDArray[np.int64]) -> None:
        """Count the time since these timestamps (ms since the epoch), absurd ones left out."""
        late_N = self._clock() * 1000.0 - timestamps_N
        sound_N = (late_N >= -AHEAD_MS) & (late_N <= OLD_MS)
        self._latency_ignored.inc(len(late_N) - int(np.count_nonzero(sound_N)))
        self._latency.observe("", np.maximum(late_N[sound_N], 0.0) / 1000.0)

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

    def rate(
        self, *, due: float, requests: int, achieved: float, threshold: float, capacity: float
    ) -> None:
        """Show the controller's state after a step.

        Args:
            due: Requests of the step that were to be intercepted.
            requests: All requests of the step.
            achieved: Share intercepted lately.
            threshold: Reward that is needed to pass.
            capacity: Of all workers, per second; 0 without a limit.
        """
        self._due.inc(due)
        self._capacity.set(capacity)
        if requests:
            self._target.set(round(due / requests, 9))
        self._achieved.set(achieved)
        self._threshold.set(threshold)

    def distrusted_stamps(self, count: int) -> None:
        """Show how many timestamps so far the stream's clock did not follow."""
        if count != self._distrusted_before:
            self._distrusted.inc(count - self._distrusted_before)
            self._distrusted_before = count

    def control_applied(self, revision: int) -> None:
        """Show the newest control message in force."""
        self._revision.set(revision)

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
