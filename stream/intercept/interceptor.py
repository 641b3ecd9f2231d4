"""The interceptor: a chunk of raw records in, decisions and routed records out.

Everything that decides what happens to a request is here, without I/O and without a clock of its
own, so that the worker and a replay run the very same code: take in, score, decide (eq. 7-9 of the
DAUM paper), route. Every input record comes out exactly once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from models.artifact import Artifact
from models.artifact.scorer import Scorer
from models.features import Extractor
from models.features.bid_request import Reject
from models.features.intake import Intake, take_in
from models.tasks import TaskSet
from stream.kafka.batches import RefusedBatch
from stream.messages import (
    DECISION_HEADER,
    REASON_LABELS,
    Decision,
    Headers,
    Reason,
    RejectCode,
    own_headers,
)
from stream.metrics.worker import WorkerMetrics
from stream.policy import Decisions, Policy
from stream.policy.scenario_index import scenario_feature
from stream.transport import FetchedRecord, Record

SOURCE_OFFSET_HEADER: Final = "weir-offset"
#: The source's timestamp, on a dead letter that has another one.
TIMESTAMP_HEADER: Final = "weir-timestamp"
#: Bytes of the source's value, -1 where that is null, on a dead letter that was cut.
TRUNCATED_HEADER: Final = "weir-truncated-from"
#: Bytes that a dead letter keeps of a value beyond the limit, and of a key that is long itself.
TRUNCATED_BYTES: Final = 1024
#: A truncated dead letter loses its source's headers if they and the key are longer than this.
LONG_ENVELOPE: Final = 4096
#: Characters of a dead letter's message. With the figures above, a dead letter that was cut has
#: 8 KiB at most, whatever the record had.
MESSAGE_CHARACTERS: Final = 500


class LoadedModel:
    """An artifact ready to serve: its extractor and its warmed scorer.

    Args:
        artifact: A verified artifact.
        threads: Threads of one inference.
        batch: Requests per inference.
        scenario_path: Where requests name their scenario, or empty.

    Attributes:
        proven: Whether it has scored a request.

    Raises:
        ArtifactError: If the runtime refuses the model.
        ScoringError: If it cannot score.
    """

    def __init__(
        self, artifact: Artifact, *, threads: int, batch: int, scenario_path: str = ""
    ) -> None:
        self.version: str = artifact.manifest.version
        self.created_s: float = artifact.manifest.created_s
        self.proven = False
        self.tasks: TaskSet = artifact.tasks
        self.auto = artifact.manifest.auto
        self.spec_hash: str = artifact.spec.hash
        self.reads_scenario = bool(scenario_path)
        features = artifact.spec.features
        if scenario_path:
            features = (*features, scenario_feature(scenario_path, artifact.spec.columns))
        self.extractor = Extractor(features)
        self.scorer = Scorer(artifact, threads=threads, batch=batch)
        self.scorer.warm_up()


class OutputRecord(NamedTuple):
    """A record for one of the three output topics, on its source's partition number."""

    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Scored:
    """What the model and the policy said of N requests with T tasks.

    Attributes:
        scores_NT: Probabilities, each on its task's population.
        uncertainties_NT: Standard deviations of these.
        decisions: Verdicts, reasons, rewards, thresholds, propensities.
    """

    scores_NT: npt.NDArray[np.float32]
    uncertainties_NT: npt.NDArray[np.float32]
    decisions: Decisions


@dataclass(frozen=True, slots=True)
class Intercepted:
    """What became of one chunk.

    Attributes:
        passed: Records for the pass topic, in source order.
        blocked: Records for the block topic, in source order.
        rejected: Records for the dead-letter topic, in source order.
        decided: The N input records that were decided.
        request_ids: Their ids.
        scored: What the model said of them; None when no model served and everything passed.
        passed_at, blocked_at, rejected_at: Index among the input records of each output.
    """

    passed: list[OutputRecord]
    blocked: list[OutputRecord]
    rejected: list[OutputRecord]
    passed_at: npt.NDArray[np.intp]
    blocked_at: npt.NDArray[np.intp]
    rejected_at: npt.NDArray[np.intp]
    decided: list[FetchedRecord]
    request_ids: list[str]
    scored: Scored | None


class Opinions(NamedTuple):
    """What the model says of N requests, with their scenarios where the policy asks for them."""

    scores_NT: npt.NDArray[np.float32]
    uncertainties_NT: npt.NDArray[np.float32]
    scenarios_N: npt.NDArray[np.int32] | None


OnFailure = Callable[[LoadedModel, Exception], LoadedModel | None]


def _give_up(_model: LoadedModel, error: Exception) -> LoadedModel | None:
    raise error


class Interceptor:
    """Decides chunks; the serving model may be replaced between two of them.

    Args:
        policy: Holds the controller's state; decisions depend on the order of requests only.
        metrics: Where stages, verdicts, rejects and scores are counted.
        max_value_bytes: Longer values are rejected.
        on_failure: Told of a model that could not read or score a chunk and of the error; returns
            what takes over for the same chunk, None to pass everything, or raises.

    Attributes:
        recent: Ids of the newest requests that were scored, with the hash of their spec.
    """

    def __init__(
        self,
        policy: Policy,
        metrics: WorkerMetrics,
        *,
        max_value_bytes: int,
        on_failure: OnFailure = _give_up,
    ) -> None:
        self._policy = policy
        self._metrics = metrics
        self._max_value_bytes = max_value_bytes
        self._on_failure = on_failure
        self._no_features = Extractor(())
        self._model: LoadedModel | None = None
        self.recent: tuple[str, npt.NDArray[np.int32]] | None = None

    @property
    def model(self) -> LoadedModel | None:
        """What serves; None while everything passes."""
        return self._model

    @model.setter
    def model(self, model: LoadedModel | None) -> None:
        """Let another one serve; where the policy says ``auto``, it follows its evidence.

        Raises:
            PolicyError: If the policy cannot follow it; the old one keeps serving.
        """
        if model is not None:
            self._policy.use_evidence(model.auto)
        self._model = model

    def intercept(self, records: Sequence[FetchedRecord], now_ms: int | None = None) -> Intercepted:
        """Decide a chunk of at least one record, in offset order or in that of a merged history."""
        values, times_N = [record.value for record in records], stamps(records)
        while True:
            model = self._model
            try:
                intake, opinions = self._read(model, values, times_N)
                break
            except Exception as error:
                if model is None:
                    raise
                self.model = self._on_failure(model, error)
        kept = [records[i] for i in intake.kept]
        rejected = [self._rejected(records[i], reject) for i, reject in intake.rejects]
        scored = self._decide(model, opinions, intake, kept, times_N[intake.kept], now_ms)
        blocked: list[OutputRecord] = []
        passed_N = np.ones(len(kept), np.bool_) if scored is None else scored.decisions.passed_N
        with self._metrics.stage("route"):
            if scored is None:
                passed = self._pass_everything(kept)
            else:
                passed, blocked = self._route(kept, scored.decisions)
        at_N = np.array(intake.kept, np.intp)
        return Intercepted(
            passed=passed,
            blocked=blocked,
            rejected=rejected,
            passed_at=at_N[passed_N],
            blocked_at=at_N[~passed_N],
            rejected_at=np.array([i for i, _ in intake.rejects], np.intp),
            decided=kept,
            request_ids=intake.request_ids,
            scored=scored,
        )

    def _read(
        self,
        model: LoadedModel | None,
        values: Sequence[bytes | None],
        times_N: npt.NDArray[np.int64],
    ) -> tuple[Intake, Opinions | None]:
        """What the serving model makes of a chunk's values; changes nothing, so may be repeated."""
        with self._metrics.stage("read"):
            extractor = self._no_features if model is None else model.extractor
            intake = take_in(extractor, values, times_N, self._max_value_bytes)
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
        return intake, Opinions(scores_NT, uncertainties_NT, scenarios_N)

    def _decide(
        self,
        model: LoadedModel | None,
        opinions: Opinions | None,
        intake: Intake,
        records: Sequence[FetchedRecord],
        times_N: npt.NDArray[np.int64],
        now_ms: int | None,
    ) -> Scored | None:
        metrics, policy = self._metrics, self._policy
        if model is None or opinions is None:
            fail_open_N = np.full(len(records), Reason.FAIL_OPEN, np.uint8)
            metrics.verdicts(np.ones(len(records), np.bool_), fail_open_N)
            return None
        scores_NT, uncertainties_NT, scenarios_N = opinions
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

    def _route(
        self, records: Sequence[FetchedRecord], decisions: Decisions
    ) -> tuple[list[OutputRecord], list[OutputRecord]]:
        version = self.model.version if self.model else ""
        form = (
            b'{"model":%s,"e":%%b,"threshold":%%.9g,"reason":"%%b","propensity":%%.9g,'
            b'"offset":%%d}' % orjson.dumps(version).replace(b"%", b"%%")
        )
        labels = [label.encode() for label in REASON_LABELS]
        passed: list[OutputRecord] = []
        blocked: list[OutputRecord] = []
        for record, passes, reason, e, threshold, propensity in zip(
            records,
            decisions.passed_N.tolist(),
            decisions.reason_N.tolist(),
            decisions.reward_N.tolist(),
            decisions.threshold_N.tolist(),
            decisions.propensity_N.tolist(),
            strict=True,
        ):
            reward = b"%.9g" % e if e == e else b"null"  # noqa: PLR0124 - NaN has no JSON
            header = form % (reward, threshold, labels[reason], propensity, record.offset)
            (passed if passes else blocked).append(_with_header(record, header))
        return passed, blocked

    @staticmethod
    def _pass_everything(records: Sequence[FetchedRecord]) -> list[OutputRecord]:
        form = (
            b'{"model":"","e":null,"threshold":null,"reason":"%b","propensity":1.0,"offset":%%d}'
            % Reason.FAIL_OPEN.label.encode()
        )
        return [_with_header(record, form % record.offset) for record in records]

    def _rejected(self, record: FetchedRecord, reject: Reject) -> OutputRecord:
        if isinstance(record, RefusedBatch):  # its value is no request, but packed or broken bytes
            reject = Reject(RejectCode.UNREADABLE, record.reason)
        self._metrics.reject(reject.code)
        too_long = record.value is not None and len(record.value) > self._max_value_bytes
        whole = not too_long and not isinstance(record, RefusedBatch)
        return _dead_letter(record, reject, whole=whole)

    def oversized(self, record: FetchedRecord, size: int, limit: int) -> OutputRecord:
        """The dead letter of a request whose output of ``size`` bytes the broker does not take."""
        reject = Reject(
            RejectCode.TOO_LARGE,
            f"the output has {size} bytes, key and headers included; the broker takes {limit}",
        )
        self._metrics.reject(reject.code)
        return _dead_letter(record, reject, whole=False)

    def refused(self, record: FetchedRecord, why: str, now_ms: int) -> OutputRecord:
        """The dead letter of a request whose output its topic does not take as it is.

        It has the time `now_ms`, which any topic takes, and its own in the header
        ``weir-timestamp``.
        """
        return restamped(self._rejected(record, Reject(RejectCode.REFUSED, why)), now_ms)


def stamps(records: Sequence[FetchedRecord]) -> npt.NDArray[np.int64]:
    """The records' timestamps, shape (N,); a batch may put one beyond 64 bits, which is cut."""
    times = [record.timestamp for record in records]
    try:
        return np.array(times, np.int64)
    except OverflowError:
        least, most = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        return np.array([min(max(time, least), most) for time in times], np.int64)


def _dead_letter(record: FetchedRecord, reject: Reject, *, whole: bool) -> OutputRecord:
    key, value, headers = record.key, record.value, own_headers(record.headers)
    cut: Headers = ()
    if not whole:
        cut = ((TRUNCATED_HEADER, b"%d" % (-1 if value is None else len(value))),)
        value = value and value[:TRUNCATED_BYTES]
        if _envelope_bytes(key, headers) > LONG_ENVELOPE:
            key, headers = key and key[:TRUNCATED_BYTES], ()
    last: Headers = ()
    if isinstance(record, RefusedBatch):
        last = (("weir-last-offset", b"%d" % record.last_offset),)
    added: Headers = (
        ("weir-error", reject.code.value.encode()),
        ("weir-message", reject.message[:MESSAGE_CHARACTERS].encode(errors="backslashreplace")),
        ("weir-topic", record.topic.encode()),
        ("weir-partition", b"%d" % record.partition),
        *last,
        (SOURCE_OFFSET_HEADER, b"%d" % record.offset),
    )
    return OutputRecord(key, value, record.timestamp, (*headers, *cut, *added))


def restamped(letter: Record, now_ms: int) -> OutputRecord:
    """A dead letter with the time `now_ms`, and its own in the header ``weir-timestamp``."""
    *headers, source = letter.headers
    own = (TIMESTAMP_HEADER, b"%d" % letter.timestamp)
    return OutputRecord(letter.key, letter.value, now_ms, (*headers, own, source))


def _envelope_bytes(key: bytes | None, headers: Headers) -> int:
    """Bytes of key and headers; each header counts two more for its lengths."""
    named = sum(2 + len(name.encode()) + len(content or b"") for name, content in headers)
    return len(key or b"") + named


def source_offset(output: Record) -> int:
    """Offset of the request that an output of the interceptor came from."""
    name, value = output.headers[-1]
    assert value is not None
    return int(value) if name == SOURCE_OFFSET_HEADER else Decision.from_bytes(value).offset


def _with_header(record: FetchedRecord, header: bytes) -> OutputRecord:
    own = (DECISION_HEADER, header)
    headers = (*own_headers(record.headers), own) if record.headers else (own,)
    return OutputRecord(record.key, record.value, record.timestamp, headers)
