"""The shadow: a candidate that scores a share of the live requests, and decides none of them.

A thread of its own scores them, one batch at a time; a batch that comes while it is busy is
skipped and counted. So a shadow, however slow, delays no request, and takes its share of the
processor's time at most. What it would have decided is counted beside what was decided.
"""

import asyncio
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from models.features.intake import Intake, ingest
from stream.intercept.challengers import Challenger
from stream.intercept.loaded_model import LoadedModel
from stream.metrics.worker import WorkerMetrics
from stream.policy import Decisions, Policy
from stream.policy.exploration import draw
from stream.transport import FetchedRecord

SEED: Final = 0x5AD0
"""Seed of the draws by request id, so that they do not depend on those of exploration."""
Floats32 = npt.NDArray[np.float32]
OnFailure = Callable[[LoadedModel, Exception], LoadedModel | None]


class Decided(NamedTuple):
    """N requests as the deciding model saw them.

    Attributes:
        model: The model that decided.
        records: The requests.
        times_N: Their timestamps, ms.
        intake: Their ids and features.
        scores_NT: Probabilities.
        uncertainties_NT: Standard deviations.
        scenarios_N: Rows of the scenario feature; None if there is none.
        decisions: What was decided.
    """

    model: LoadedModel
    records: Sequence[FetchedRecord]
    times_N: npt.NDArray[np.int64]
    intake: Intake
    scores_NT: Floats32
    uncertainties_NT: Floats32
    scenarios_N: npt.NDArray[np.int32] | None
    decisions: Decisions


class _Job(NamedTuple):
    """K requests for the shadow, and what the deciding model said about them."""

    model: LoadedModel
    ids_KC: npt.NDArray[np.int32] | None  # None if the shadow has another feature spec
    values: list[bytes | None]
    times_K: npt.NDArray[np.int64]
    scores_KT: Floats32
    uncertainties_KT: Floats32
    scenarios_K: npt.NDArray[np.int32] | None
    threshold_K: Floats32
    passed_K: npt.NDArray[np.bool_]


_Answer = tuple[Floats32, Floats32] | Exception


class Shadow:
    """Scores requests with a challenger in a thread, and counts what it would have decided.

    Args:
        policy: Gives the rewards of the shadow's scores.
        metrics: Counts would-be decisions, scores and skipped requests.
        on_failure: Called with a model that could not score, and the error.
        most: Largest share of requests, whatever was announced; 0 switches shadows off.
        max_value_bytes: Longest value that is read.

    Attributes:
        challenger: The shadow in force; None for none.
    """

    def __init__(
        self,
        policy: Policy,
        metrics: WorkerMetrics,
        on_failure: OnFailure,
        *,
        most: float,
        max_value_bytes: int,
    ) -> None:
        self._policy = policy
        self._metrics = metrics
        self._on_failure = on_failure
        self._most = most
        self._max_value_bytes = max_value_bytes
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._busy = False
        self._thread: threading.Thread | None = None
        self.challenger: Challenger | None = None

    def offer(self, decided: Decided) -> None:
        """Take the shadow's share of a decided batch; returns without waiting for its scores."""
        challenger = self.challenger
        if challenger is None or challenger.model is None:
            return
        share = min(challenger.share, self._most)
        at_K = np.flatnonzero(draw(decided.intake.hashes_N, SEED) < share)
        if not len(at_K):
            return
        if self._busy:
            self._metrics.shadow_skipped(len(at_K))
            return
        self._busy = True
        self._start()
        self._jobs.put(_job(challenger.model, decided, at_K))

    def stop(self) -> None:
        """End the thread after the batch that it is scoring."""
        self.challenger = None
        self._jobs.put(None)

    def _start(self) -> None:
        if self._thread is None:
            loop = asyncio.get_running_loop()
            self._thread = threading.Thread(
                target=self._run, args=(loop,), name="weir-shadow", daemon=True
            )
            self._thread.start()

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        while (job := self._jobs.get()) is not None:
            answer: _Answer
            try:
                answer = _score(job, self._max_value_bytes)
            except Exception as error:  # noqa: BLE001 - handed to the event loop
                answer = error
            try:
                loop.call_soon_threadsafe(self._answered, job, answer)
            except RuntimeError:  # the loop was closed
                return

    def _answered(self, job: _Job, answer: _Answer) -> None:
        """Count an answer, on the event loop."""
        self._busy = False
        if self.challenger is None or self.challenger.model is not job.model:
            return
        if isinstance(answer, Exception):
            self._on_failure(job.model, answer)
            return
        scores_KT, uncertainties_KT = answer
        reward_K = self._policy.rewards(scores_KT, uncertainties_KT, job.scenarios_K)
        self._metrics.shadowed(
            job.model.tasks.names,
            would_K=reward_K >= job.threshold_K,
            passed_K=job.passed_K,
            scores_2KT=(job.scores_KT, scores_KT),
            uncertainties_2KT=(job.uncertainties_KT, uncertainties_KT),
        )


def _job(model: LoadedModel, decided: Decided, at_K: npt.NDArray[np.intp]) -> _Job:
    ids_KC, values = None, list[bytes | None]()
    if model.spec_hash == decided.model.spec_hash:
        ids_KC = decided.intake.ids_NC[at_K]
        if decided.model.reads_scenario:
            ids_KC = np.ascontiguousarray(ids_KC[:, :-1])
    else:
        values = [decided.records[at].value for at in at_K.tolist()]
    scenarios_N, decisions = decided.scenarios_N, decided.decisions
    return _Job(
        model,
        ids_KC,
        values,
        decided.times_N[at_K],
        decided.scores_NT[at_K],
        decided.uncertainties_NT[at_K],
        None if scenarios_N is None else scenarios_N[at_K],
        decisions.threshold_N[at_K],
        decisions.passed_N[at_K],
    )


def _score(job: _Job, max_value_bytes: int) -> tuple[Floats32, Floats32]:
    ids_KC = job.ids_KC
    if ids_KC is None:
        ids_KC = ingest(job.model.extractor, job.values, job.times_K, max_value_bytes).ids_NC
        if job.model.reads_scenario:
            ids_KC = np.ascontiguousarray(ids_KC[:, :-1])
    return job.model.scorer.score(ids_KC)
