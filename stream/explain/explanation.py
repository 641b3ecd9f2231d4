"""One decision explained: found, read, scored and decided again, attributed, and its data."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.artifact.reference import REFERENCE_FILE
from models.artifact.registry import Registry
from models.data.examples import Examples, stream_examples
from models.data.request_files import is_file
from models.features.bid_request import Reject, decode
from models.features.feature import Ids
from models.features.intake import ingest
from models.settings import ScenarioSettings, Settings
from models.tasks import TaskSet
from stream.explain.attribution import DEFAULT_PAIRS, Attribution, attribute
from stream.explain.checks import Check, check_history, check_log, missing_parts
from stream.explain.history import Replayed, repeat_live, replay_until, source_of
from stream.explain.recompute import (
    ControlChange,
    ModelUsed,
    Scored,
    model_of,
    score_request,
)
from stream.explain.search import ExplainError, Found, Kind, choose, search
from stream.explain.segments import TrainingData, count_segments, known_counts
from stream.explain.values import FeatureValue, extracted, players
from stream.intercept.interceptor import timestamps
from stream.intercept.loaded_model import LoadedModel
from stream.kafka.reader import read_topic
from stream.messages import RecordError, read_change, read_scenario
from stream.policy.value.valuation import Valuation

REWARD: Final = "e"
"""Name of the reward among the outputs that are attributed."""
_STORED: Final = "examples"
"""Table of the trainer's store that has requests."""


@dataclass(frozen=True, slots=True)
class ExplainOptions:
    """Options of `weir explain`.

    Attributes:
        sources: Files or topics to look in; without any, the topics of the settings.
        at: Place of the record, where the id occurs more than once.
        start_ms: First timestamp of records of topics.
        end_ms: First timestamp to leave out.
        history: Whether to decide all requests before it again, for threshold and debt.
        store: Examples to count similar rows in: Parquet files, or a folder of them.
        pairs: Pairs of random orders of the attribution.
        seed: Seed of these orders.
    """

    sources: tuple[str, ...] = ()
    at: str | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    history: bool = False
    store: Path | None = None
    pairs: int = DEFAULT_PAIRS
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that `weir explain` shows.

    Attributes:
        request_id: The id.
        found: The record that it was found in.
        verdict: ``pass``, ``block``, ``reject``; None if nothing has decided the request.
        tasks: The tasks.
        used: The model; None for a dead letter.
        values: What each feature read.
        scored: Scores, reward and settings; None for a dead letter.
        attribution: What moved reward, scores and uncertainties.
        outputs: Names of the outputs that are attributed.
        checks: The log against the computation.
        replayed: The request at the end of its history; None if that was not replayed.
        training: Training rows like it; None without a store.
        known: Counts by feature from the artifact's reference; None if it has none.
        missing: Which parts of the history are missing for an exact reproduction.
    """

    request_id: str
    found: Found
    verdict: str | None
    tasks: TaskSet
    used: ModelUsed | None
    values: Sequence[FeatureValue]
    scored: Scored | None
    attribution: Attribution | None
    outputs: Sequence[str]
    checks: Sequence[Check]
    replayed: Replayed | None
    training: TrainingData | None
    known: dict[str, Any] | None
    missing: Sequence[str]

    @property
    def reproduced(self) -> bool | None:
        """Whether all that was logged comes out again, bit for bit.

        None if nothing was logged, or something cannot be computed, because it is not in the log or
        because the replayed history is another one, and nothing that can be computed differs.
        """
        equal = [
            None if check.by_history and check.equal is False else check.equal
            for check in self.checks
        ]
        if not equal or (None in equal and False not in equal):
            return None
        return all(equal)


async def explain(settings: Settings, request_id: str, options: ExplainOptions) -> Explanation:
    """Find a request and explain what was decided about it.

    Args:
        settings: Brokers, topics, model, policy.
        request_id: Its id.
        options: Where to look, and how much to compute.

    Raises:
        ExplainError: If it is nowhere, occurs more than once, or cannot be read.
        ArtifactError: If no model can be loaded.
        ExampleError: If the store cannot be read.
    """
    finds = await search(settings, request_id, options.sources, options.start_ms, options.end_ms)
    found = choose(finds, request_id, options.at)
    if found.kind is Kind.REJECTED:
        return _rejected(settings, request_id, found)
    request, row_C, used = _read(settings, found)
    model = used.model
    control = [] if all(map(is_file, finds.places)) else await _control(settings)
    scored = score_request(settings, model, found, row_C, control)
    ids_C = np.ascontiguousarray(row_C[: model.scorer.artifact.spec.columns])
    values = extracted(used.features, request, _time(found), ids_C)
    replayed = None
    if options.history or (found.decision is None and all(map(is_file, finds.places))):
        replayed = await _replayed(settings, model, found, scored.scenario)
    verdict = _verdict(found, replayed)
    checks = check_log(found, verdict, scored, used)
    if replayed is not None and found.decision is not None and found.decision.model:
        checks = check_history(checks, found.decision, verdict, replayed)
    playing = [(value.name, columns) for value, columns in players(used.features, values)]
    attribution = _attribute(used, scored, settings.task_set, ids_C, playing, options)
    training = None
    if options.store is not None:
        training = count_segments(
            _training_rows(options.store, model, settings.task_set),
            settings.task_set,
            ids_C,
            playing,
            attribution.order(0),
        )
    return Explanation(
        request_id,
        found,
        verdict,
        settings.task_set,
        used,
        values,
        scored,
        attribution,
        _output_names(settings.task_set),
        checks,
        replayed,
        training,
        known_counts(_reference(settings, model), values),
        missing_parts(found, used, checks, replayed, asked=options.history),
    )


async def _replayed(
    settings: Settings, model: LoadedModel, found: Found, scenario: str
) -> Replayed | None:
    """The decision again, by the journal of who made it if there is one, else from all before."""
    if found.kind in {Kind.PASSED, Kind.BLOCKED}:
        live = await repeat_live(settings, found, scenario)
        if live is not None:
            return live
    return await replay_until(settings, model, found, scenario, source_of(settings, found))


def _rejected(settings: Settings, request_id: str, found: Found) -> Explanation:
    """The explanation of a dead letter: its code, and whether its bytes give it again."""
    letter, value = found.letter, found.record.value
    if letter is None:
        raise ExplainError(f"{found.where}: a dead letter without headers")
    logged = letter.code.value
    if letter.truncated_from is not None:
        why = f"the dead letter has only the beginning of {letter.truncated_from} bytes"
        check = Check("code", logged, None, None, why)
    else:
        try:
            decode(value, settings.worker.max_value_bytes)
            why = "its bytes are a bid request: an output topic refused the record"
            check = Check("code", logged, None, None, why)
        except Reject as reject:
            check = Check("code", logged, reject.code.value, reject.code == letter.code)
    missing = [check.why] if check.equal is None else []
    return Explanation(
        request_id, found, "reject", settings.task_set, None, (), None, None, (), (check,),
        None, None, None, missing,
    )  # fmt: skip


def _read(settings: Settings, found: Found) -> tuple[dict[str, Any], Ids, ModelUsed]:
    """The decoded request, the ids that the model's extractor gives, and the model."""
    value, limit = found.record.value, settings.worker.max_value_bytes
    try:
        request = decode(value, limit)
    except Reject as reject:
        raise ExplainError(f"{found.where}: {reject.code.value}: {reject.message}") from reject
    used = model_of(settings, None if found.decision is None else found.decision.model)
    intake = ingest(used.model.extractor, [value], timestamps([found.record]), limit)
    if not len(intake.ids_NC):
        fault = intake.rejects[0][1]
        raise ExplainError(f"{found.where}: {fault.code.value}: {fault.message}")
    return request, intake.ids_NC[0], used


def _time(found: Found) -> int:
    return int(timestamps([found.record])[0])


async def _control(settings: Settings) -> list[ControlChange]:
    """The changes on ``control`` that compaction has left, oldest first."""
    changes = []
    async for record in read_topic(settings.kafka, settings.topics.control):
        try:
            scenario, change = read_scenario(record.key), read_change(record.value)
        except RecordError:
            continue  # workers refuse it, too
        changes.append(ControlChange(record.offset, record.timestamp, scenario, change))
    return changes


def _verdict(found: Found, replayed: Replayed | None) -> str | None:
    """The logged verdict; without a decision that of the history; None where nothing tells."""
    known = {Kind.PASSED: "pass", Kind.BLOCKED: "block"}.get(found.kind)
    decision = found.decision
    if known is not None:
        return known
    if decision is None:
        passes = None if replayed is None else replayed.passed
    elif decision.e is None or decision.threshold is None or decision.reason.label != "score":
        passes = True
    else:
        tie = decision.e == decision.threshold
        passes = None if tie else decision.e > decision.threshold
    return None if passes is None else "pass" if passes else "block"


def _attribute(
    used: ModelUsed,
    scored: Scored,
    tasks: TaskSet,
    ids_C: Ids,
    playing: Sequence[tuple[str, Sequence[int]]],
    options: ExplainOptions,
) -> Attribution:
    """What moved reward, scores and uncertainties under the settings that were in force."""
    return attribute(
        _outputs(used.model, scored.settings, tasks),
        used.features,
        ids_C,
        playing,
        np.random.default_rng(options.seed),
        options.pairs,
    )


def _training_rows(store: Path, model: LoadedModel, tasks: TaskSet) -> Iterator[Examples]:
    if (store / _STORED / "_delta_log").is_dir():
        raise ExplainError(
            f"{store}: the trainer's store, whose rows get labels when a rebuild joins them with "
            "their outcomes; give --store the files of a snapshot, which lie below trainer.scratch "
            "while a rebuild runs, or other examples"
        )
    return stream_examples(store, model.scorer.artifact.spec, tasks)


def _output_names(tasks: TaskSet) -> list[str]:
    scores = [f"score_{name}" for name in tasks.names]
    return [REWARD, *scores, *(f"uncertainty_{name}" for name in tasks.names)]


class _outputs:  # noqa: N801 - a function with state
    """Reward, scores and uncertainties of ids, float64 of shape (N, 1 + 2 T)."""

    def __init__(self, model: LoadedModel, settings: ScenarioSettings, tasks: TaskSet) -> None:
        self._scorer = model.scorer
        self._valuation = Valuation(settings, tasks)

    def __call__(self, ids_NC: Ids) -> npt.NDArray[np.float64]:
        scores_NT, uncertainties_NT = self._scorer.score(ids_NC)
        reward_N, _ = self._valuation(scores_NT, uncertainties_NT)
        return np.concatenate([reward_N[:, None], scores_NT, uncertainties_NT], axis=1).astype(
            np.float64
        )


def _reference(settings: Settings, model: LoadedModel) -> bytes | None:
    """The model's ``reference.json``, which a loaded artifact does not keep."""
    url = model.scorer.artifact.url
    files = Registry.of(settings.model).fetch_configured(url)
    return files.contents.get(REFERENCE_FILE)
