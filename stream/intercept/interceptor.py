"""The interceptor: a chunk of raw records in, decisions and routed records out.

Everything that determines the fate of a request is here, without I/O and without a clock of its
own, so that the worker and a replay run the same code: ingest, score, decide (eq. 7-9 of the DAUM
paper), route. Every input record becomes exactly one output record.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from models.features import Extractor
from models.features.bid_request import Reject, RejectCode
from models.features.intake import Intake, ingest
from stream.intercept.challengers import Challenger
from stream.intercept.dead_letters import dead_letter, too_large_for_topic, with_timestamp
from stream.intercept.loaded_model import LoadedModel, Recent
from stream.intercept.metrics import InterceptMetrics
from stream.intercept.shadow import Decided, Shadow
from stream.kafka.batches import RefusedBatch
from stream.messages import DECISION_HEADER, Reason, own_headers
from stream.messages.decision import encode_decisions, encode_fail_open
from stream.policy import Decisions, Policy
from stream.transport import FetchedRecord, Outgoing


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores and decisions of N requests with T tasks.

    Attributes:
        scores_NT: Probabilities, each on its task's population.
        uncertainties_NT: Standard deviations of the scores.
        decisions: Verdicts, reasons, rewards, thresholds, propensities.
    """

    scores_NT: npt.NDArray[np.float32]
    uncertainties_NT: npt.NDArray[np.float32]
    decisions: Decisions


@dataclass(frozen=True, slots=True)
class Intercepted:
    """The outputs of one chunk and the decisions behind them.

    Attributes:
        passed: Records for the pass topic, in source order.
        blocked: Records for the block topic, in source order.
        rejected: Records for the dead-letter topic, in source order.
        passed_at, blocked_at, rejected_at: Index among the input records of each output's source.
        reject_codes: Why each of `rejected` was rejected.
        decided: The N input records that were decided.
        request_ids: Their request ids.
        scored: Their scores and decisions; None if no model served and all of them passed.
    """

    passed: list[Outgoing]
    blocked: list[Outgoing]
    rejected: list[Outgoing]
    passed_at: npt.NDArray[np.intp]
    blocked_at: npt.NDArray[np.intp]
    rejected_at: npt.NDArray[np.intp]
    reject_codes: list[RejectCode]
    decided: list[FetchedRecord]
    request_ids: list[str]
    scored: Scored | None


class Prediction(NamedTuple):
    """What the model predicts for N requests, with their scenarios if the policy needs them."""

    scores_NT: npt.NDArray[np.float32]
    uncertainties_NT: npt.NDArray[np.float32]
    scenarios_N: npt.NDArray[np.int32] | None


class BatchJournal(Protocol):
    """Takes down which batches are decided, and how."""

    def batch(
        self, records: Sequence[FetchedRecord], now_ms: int, model: LoadedModel | None
    ) -> None:
        """A batch is decided now, by this model."""


OnFailure = Callable[[LoadedModel, Exception], LoadedModel | None]


def _raise(_model: LoadedModel, error: Exception) -> LoadedModel | None:
    raise error


class Interceptor:
    """Decides chunks; the serving model and its challengers may be replaced between two of them.

    Args:
        policy: Holds the controller's state; decisions depend on the order of requests only.
        metrics: Counts stages, verdicts, rejects and scores.
        max_value_bytes: Longer values are rejected.
        on_failure: Called with a model that could not read or score a chunk, and the error. Returns
            the model that decides the same chunk instead, None to pass everything, or raises.
        journal: Takes down live batches; None for no journal.

    Attributes:
        recent: Feature ids of the newest requests that were scored.
        canary: Decides chunks in place of the serving model where the caller says so.
        shadow: Is offered what was decided.
    """

    def __init__(
        self,
        policy: Policy,
        metrics: InterceptMetrics,
        *,
        max_value_bytes: int,
        on_failure: OnFailure = _raise,
        journal: BatchJournal | None = None,
    ) -> None:
        self._policy = policy
        self._journal = journal
        self._metrics = metrics
        self._max_value_bytes = max_value_bytes
        self._on_failure = on_failure
        self._no_features = Extractor(())
        self._model: LoadedModel | None = None
        self.recent: Recent | None = None
        self.canary: Challenger | None = None
        self.shadow: Shadow | None = None

    @property
    def model(self) -> LoadedModel | None:
        """The serving model; None while everything passes."""
        return self._model

    @model.setter
    def model(self, model: LoadedModel | None) -> None:
        """Replace the serving model; settings that are ``auto`` follow the new one's evaluation.

        Raises:
            PolicyError: If the policy cannot use the model; the old one keeps serving.
        """
        if model is not None:
            self._policy.use_evidence(model.auto)
        self._model = model

    def version_of(self, partition: int) -> str:
        """The version that decides a partition; "" if none does."""
        canary, model = self.canary, self._model
        if canary is not None and canary.decides(partition):
            return canary.candidate.version
        return "" if model is None else model.version

    def intercept(
        self,
        records: Sequence[FetchedRecord],
        now_ms: int | None = None,
        *,
        by_canary: bool = False,
    ) -> Intercepted:
        """Decide a chunk of at least one record, in offset order or in that of a merged history.

        Args:
            records: The records.
            now_ms: Wall-clock time of live requests; None for a history.
            by_canary: Whether they are of partitions that the canary decides, if there is one.
        """
        values, times_N = [record.value for record in records], timestamps(records)
        while True:
            canary = self.canary if by_canary else None
            model = self._model if canary is None else canary.model
            try:
                intake, prediction = self._predict(model, values, times_N)
                break
            except Exception as error:
                if model is None:
                    raise
                replacement = self._on_failure(model, error)
                if canary is None:
                    self.model = replacement
                else:
                    by_canary = False
        if self._journal is not None and now_ms is not None:
            self._journal.batch(records, now_ms, model)
        return self._finish(records, times_N, now_ms, model, intake, prediction, canary)

    def intercept_again(
        self, records: Sequence[FetchedRecord], now_ms: int, model: LoadedModel | None
    ) -> Intercepted:
        """Decide a batch as a journal says that it was decided: by this model, whatever serves."""
        values, times_N = [record.value for record in records], timestamps(records)
        intake, prediction = self._predict(model, values, times_N)
        return self._finish(records, times_N, now_ms, model, intake, prediction, None)

    def _finish(
        self,
        records: Sequence[FetchedRecord],
        times_N: npt.NDArray[np.int64],
        now_ms: int | None,
        model: LoadedModel | None,
        intake: Intake,
        prediction: Prediction | None,
        canary: Challenger | None,
    ) -> Intercepted:
        """Decide and route what the model predicted."""
        rejects = [_reject_of(records[index], reject) for index, reject in intake.rejects]
        rejected_at = [index for index, _ in intake.rejects]
        rejected = [
            self._rejected(records[index], reject)
            for index, reject in zip(rejected_at, rejects, strict=True)
        ]
        decided = [records[index] for index in intake.kept]
        decided_at_N = times_N[intake.kept]
        scored = self._decide(model, prediction, intake, decided, decided_at_N, now_ms)
        if canary is not None and scored is not None:
            self._metrics.canary(scored.decisions.passed_N)
        if self.shadow is not None and model is not None and prediction is not None and scored:
            self.shadow.offer(
                Decided(model, decided, decided_at_N, intake, *prediction, scored.decisions)
            )
        with self._metrics.stage("route"):
            passed_N, passed, blocked = self._route(model, decided, scored)
        at_N = np.array(intake.kept, np.intp)
        return Intercepted(
            passed=passed,
            blocked=blocked,
            rejected=rejected,
            passed_at=at_N[passed_N],
            blocked_at=at_N[~passed_N],
            rejected_at=np.array(rejected_at, np.intp),
            reject_codes=[reject.code for reject in rejects],
            decided=decided,
            request_ids=intake.request_ids,
            scored=scored,
        )

    def _predict(
        self,
        model: LoadedModel | None,
        values: Sequence[bytes | None],
        times_N: npt.NDArray[np.int64],
    ) -> tuple[Intake, Prediction | None]:
        """Ingest and score a chunk; changes no state of the policy, so it may be repeated."""
        with self._metrics.stage("read"):
            extractor = self._no_features if model is None else model.extractor
            intake = ingest(extractor, values, times_N, self._max_value_bytes)
        if model is None:
            return intake, None
        ids_NC, scenarios_N = intake.ids_NC, None
        if model.reads_scenario:
            scenarios_N = ids_NC[:, -1]
            ids_NC = np.ascontiguousarray(ids_NC[:, :-1])
        with self._metrics.stage("score"):
            scores_NT, uncertainties_NT = model.scorer.score(ids_NC)
        if len(ids_NC):  # a chunk of rejects proves nothing
            model.proven = True
            self.recent = (model.spec_hash, ids_NC)
        return intake, Prediction(scores_NT, uncertainties_NT, scenarios_N)

    def _decide(
        self,
        model: LoadedModel | None,
        prediction: Prediction | None,
        intake: Intake,
        records: Sequence[FetchedRecord],
        times_N: npt.NDArray[np.int64],
        now_ms: int | None,
    ) -> Scored | None:
        metrics, policy = self._metrics, self._policy
        if model is None or prediction is None:
            fail_open_N = np.full(len(records), Reason.FAIL_OPEN, np.uint8)
            metrics.verdicts(np.ones(len(records), np.bool_), fail_open_N)
            return None
        scores_NT, uncertainties_NT, scenarios_N = prediction
        with metrics.stage("decide"):
            decisions = policy.decide(
                intake.hashes_N,
                times_N,
                scores_NT,
                uncertainties_NT,
                scenarios_N=scenarios_N,
                partitions_N=np.array([record.partition for record in records], np.int64),
                now_ms=now_ms,
            )
            metrics.distrusted_stamps(policy.distrusted_stamps)
            metrics.scored(model.tasks.names, scores_NT, uncertainties_NT)
            metrics.verdicts(decisions.passed_N, decisions.reason_N)
            metrics.rate(
                due=float(decisions.target_rate_N.sum()),
                requests=len(records),
                achieved=policy.achieved,
                threshold=policy.threshold,
                capacity=policy.capacity,
            )
        return Scored(scores_NT, uncertainties_NT, decisions)

    @staticmethod
    def _route(
        model: LoadedModel | None, records: Sequence[FetchedRecord], scored: Scored | None
    ) -> tuple[npt.NDArray[np.bool_], list[Outgoing], list[Outgoing]]:
        """Which records pass, the records for the pass topic, and those for the block topic."""
        offsets = [record.offset for record in records]
        if model is None or scored is None:
            headers = encode_fail_open(offsets)
            passed = list(map(_with_decision, records, headers))
            return np.ones(len(records), np.bool_), passed, []
        decisions = scored.decisions
        headers = encode_decisions(
            model.version,
            decisions.reward_N.tolist(),
            decisions.threshold_N.tolist(),
            decisions.reason_N.tolist(),
            decisions.propensity_N.tolist(),
            offsets,
        )
        routed: tuple[list[Outgoing], list[Outgoing]] = [], []
        for record, header, passes in zip(
            records, headers, decisions.passed_N.tolist(), strict=True
        ):
            routed[passes].append(_with_decision(record, header))
        blocked, passed = routed
        return decisions.passed_N, passed, blocked

    def _rejected(self, record: FetchedRecord, reject: Reject) -> Outgoing:
        self._metrics.reject(reject.code)
        too_long = record.value is not None and len(record.value) > self._max_value_bytes
        return dead_letter(record, reject, cut=too_long or isinstance(record, RefusedBatch))

    def oversized(self, record: FetchedRecord, size: int, limit: int) -> Outgoing:
        """The dead letter of a request whose output of ``size`` bytes the broker does not take."""
        self._metrics.reject(RejectCode.TOO_LARGE)
        return too_large_for_topic(record, size, limit)

    def refused(self, record: FetchedRecord, why: str, now_ms: int) -> Outgoing:
        """The dead letter of a request whose output its topic refuses.

        It has the timestamp `now_ms`, which every topic accepts, and the source's in a header.
        """
        letter = self._rejected(record, _reject_of(record, Reject(RejectCode.REFUSED, why)))
        return with_timestamp(letter, now_ms, record.offset)


def timestamps(records: Sequence[FetchedRecord]) -> npt.NDArray[np.int64]:
    """Timestamps in ms, shape (N,); those beyond 64 bits, which batches may have, are clipped."""
    times = [record.timestamp for record in records]
    try:
        return np.array(times, np.int64)
    except OverflowError:
        least, most = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        return np.array([min(max(time, least), most) for time in times], np.int64)


def _reject_of(record: FetchedRecord, reject: Reject) -> Reject:
    """The reject of a record; the bytes of an unreadable batch are no value that could be read."""
    if isinstance(record, RefusedBatch):
        return Reject(RejectCode.UNREADABLE, record.reason)
    return reject


def _with_decision(record: FetchedRecord, header: bytes) -> Outgoing:
    added = (DECISION_HEADER, header)
    headers = (*own_headers(record.headers), added) if record.headers else (added,)
    return Outgoing(record.key, record.value, record.timestamp, headers, record.offset)
