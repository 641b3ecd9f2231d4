"""Prometheus metrics of an intercept worker, for the engineer on call."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from prometheus_client import CollectorRegistry

from stream.messages import REASON_LABELS, ModelRole, RejectCode
from stream.messages.refusals import Refusals
from stream.metrics.families import (
    ChallengerFamilies,
    ControlFamilies,
    ModelFamilies,
    RateFamilies,
    RequestFamilies,
    ScoreFamilies,
    TimeFamilies,
)
from stream.metrics.lag import LagGauge

AHEAD_MS: Final = 5_000
"""A timestamp further ahead of the clock has no latency; less counts as a latency of zero."""
OLD_MS: Final = 86_400_000
"""Nor has a timestamp older than a day: the request is replayed, or the clock is wrong."""


@dataclass(frozen=True, slots=True)
class ServingModel:
    """What the model gauges show: the version that serves and its time of creation (epoch s)."""

    version: str
    created_s: float


class WorkerMetrics:
    """All metrics of one intercept worker, in a registry of their own.

    Args:
        clock: Seconds since the epoch, which latencies end at.

    Attributes:
        registry: The registry that Prometheus scrapes.
        refusals: Counts and logs messages that cannot be used.
        on_stage: Is told each stage of a batch and its seconds, too.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._writes = 0
        self._writing_since_s = 0.0
        self._distrusted_before = 0
        self.registry = registry = CollectorRegistry()
        self.refusals = Refusals(registry)
        self._requests = RequestFamilies(registry)
        self._rate = RateFamilies(registry)
        self._predictions = ScoreFamilies(registry)
        self._times = TimeFamilies(registry)
        self._lag = LagGauge(
            "weir_consumer_lag",
            "Records between the position and the end of the partition.",
            registry,
        )
        self._model = ModelFamilies(registry)
        self._control = ControlFamilies(registry)
        self._challengers = ChallengerFamilies(registry)
        self._versions: dict[ModelRole, str] = {}
        self.on_stage: Callable[[str, float], None] | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time one stage of a batch of requests."""
        start = time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        self._times.stages.labels(name).observe(seconds)
        if self.on_stage is not None:
            self.on_stage(name, seconds)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Time the writing of one chunk, and the time in which any chunk is being written."""
        start = time.perf_counter()
        if self._writes == 0:
            self._writing_since_s = start
        self._writes += 1
        try:
            yield
            self._times.write_seconds.observe(time.perf_counter() - start)
        finally:
            self._writes -= 1
            if self._writes == 0:
                self._times.writing.inc(time.perf_counter() - self._writing_since_s)

    def latency(self, timestamps_N: npt.NDArray[np.int64]) -> None:
        """Observe the latency of requests since their timestamps (ms since the epoch).

        Timestamps too far ahead of the clock, or too old, are counted as ignored.
        """
        latency_ms_N = self._clock() * 1000.0 - timestamps_N
        plausible_N = (latency_ms_N >= -AHEAD_MS) & (latency_ms_N <= OLD_MS)
        self._times.latency_ignored.inc(len(latency_ms_N) - int(np.count_nonzero(plausible_N)))
        self._times.latency.observe("", np.maximum(latency_ms_N[plausible_N], 0.0) / 1000.0)

    def chunk(self, records: int, seconds: float) -> None:
        """Count an acknowledged chunk."""
        self._requests.consumed.inc(records)
        self._times.chunk_records.observe(records)
        self._times.chunk_seconds.observe(seconds)

    def verdicts(self, passed_N: npt.NDArray[np.bool_], reason_N: npt.NDArray[np.uint8]) -> None:
        """Count decisions."""
        for index in range(len(REASON_LABELS)):
            of_reason_N = reason_N == index
            passed = int(np.count_nonzero(of_reason_N & passed_N))
            blocked = int(np.count_nonzero(of_reason_N)) - passed
            if passed:
                self._requests.verdicts[True, index].inc(passed)
            if blocked:
                self._requests.verdicts[False, index].inc(blocked)

    def reject(self, code: RejectCode) -> None:
        """Count a record sent to the dead-letter topic."""
        self._requests.rejects.labels(code.value).inc()

    def scored(
        self,
        tasks: Sequence[str],
        scores_NT: npt.NDArray[np.float32],
        uncertainties_NT: npt.NDArray[np.float32],
    ) -> None:
        """Count scores and uncertainties into their histograms."""
        for column, task in enumerate(tasks):
            self._predictions.scores.observe(task, scores_NT[:, column])
            self._predictions.uncertainties.observe(task, uncertainties_NT[:, column])

    def rate(
        self, *, due: float, requests: int, achieved: float, threshold: float, capacity: float
    ) -> None:
        """Publish the controller's state after a batch of requests.

        Args:
            due: Requests of the batch that were to be intercepted.
            requests: All requests of the batch.
            achieved: Share intercepted in the controller's window.
            threshold: Reward that a request needs to pass by score.
            capacity: Requests per second that all workers together may pass; 0 without a limit.
        """
        self._rate.due.inc(due)
        self._rate.capacity.set(capacity)
        if requests:
            self._rate.target.set(round(due / requests, 9))
        self._rate.achieved.set(achieved)
        self._rate.threshold.set(threshold)

    def distrusted_stamps(self, count: int) -> None:
        """Publish the total of timestamps that the stream's clock did not follow."""
        if count != self._distrusted_before:
            self._rate.distrusted.inc(count - self._distrusted_before)
            self._distrusted_before = count

    def control_applied(self, revision: int) -> None:
        """Publish the offset of the newest control message in force."""
        self._control.revision.set(revision)

    def fleet(self, *, shared: bool) -> None:
        """Publish whether the rate is held together with the fleet."""
        self._control.fleet_shared.set(shared)

    def lag(self, lag: Mapping[tuple[str, int], int | None]) -> None:
        """Publish the known lag of each assigned partition; revoked ones disappear."""
        self._lag.publish(lag)

    def model(self, serving: ServingModel | None) -> None:
        """Publish the serving model, or fail-open for None."""
        self._model.fail_open.set(serving is None)
        self.in_role(ModelRole.SERVE, None if serving is None else serving.version)
        if serving is None:
            self._model.age.set_function(lambda: 0.0)
            return
        created_s = serving.created_s
        self._model.age.set_function(lambda: time.time() - created_s)
        self._model.swaps.inc()

    def in_role(self, role: ModelRole, version: str | None) -> None:
        """Publish the version that has a role; None for no version."""
        self._versions.pop(role, None)
        if version is not None:
            self._versions[role] = version
        self._model.info.clear()
        for known, name in self._versions.items():
            self._model.info.labels(name, known).set(1)

    def versions(self, partitions: Mapping[str, int]) -> None:
        """Publish how many partitions each version decides, over the fleet."""
        self._model.versions.clear()
        for version, count in partitions.items():
            self._model.versions.labels(version).set(count)

    def canary(self, passed_N: npt.NDArray[np.bool_]) -> None:
        """Count decisions of a canary."""
        passed = int(np.count_nonzero(passed_N))
        self._challengers.canary[True].inc(passed)
        self._challengers.canary[False].inc(len(passed_N) - passed)

    def shadow_skipped(self, requests: int) -> None:
        """Count requests that a shadow did not score because it was busy."""
        self._challengers.skipped.inc(requests)

    def shadowed(
        self,
        tasks: Sequence[str],
        *,
        would_K: npt.NDArray[np.bool_],
        passed_K: npt.NDArray[np.bool_],
        scores_2KT: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
        uncertainties_2KT: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
    ) -> None:
        """Count K requests that a shadow scored.

        Args:
            tasks: Names of the T tasks.
            would_K: Whether the shadow's reward reaches the threshold in force.
            passed_K: Whether the request passed.
            scores_2KT: Scores in force, and those of the shadow.
            uncertainties_2KT: The same for uncertainties.
        """
        for (passed, would), counter in self._challengers.shadow.items():
            counter.inc(int(np.count_nonzero((passed_K == passed) & (would_K == would))))
        for family, values_2KT in (
            (self._challengers.scores, scores_2KT),
            (self._challengers.uncertainties, uncertainties_2KT),
        ):
            for role, values_KT in zip(
                (ModelRole.SERVE, ModelRole.SHADOW), values_2KT, strict=True
            ):
                for task, total in zip(tasks, values_KT.sum(axis=0).tolist(), strict=True):
                    family.labels(task, role).inc(total)

    def refused(self, code: str) -> None:
        """Count a refused artifact."""
        self._model.refusals.labels(code).inc()
