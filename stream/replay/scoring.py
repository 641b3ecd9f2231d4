"""The heavy, stateless stage of a replay: pieces of a source in, scored requests out.

What it returns about a request depends on the request alone, so it can run anywhere (`stages`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
import polars as pl

from models.artifact import ArtifactFiles, open_artifact
from models.features.bid_request import RejectCode
from models.features.intake import Intake, ingest
from models.features.lenient_json import loads
from models.features.path import EACH, INSIDE, Path, Step
from models.features.values import text_of
from stream.intercept.loaded_model import LoadedModel
from stream.messages.headers import sequence_number
from stream.replay.logged import read_logged
from stream.replay.records import Ints, Piece, Records


@dataclass(frozen=True, slots=True)
class ScoringPlan:
    """What to compute for every request; can be pickled.

    Attributes:
        models: Verified artifacts, each once.
        threads: Threads per inference.
        batch: Requests per inference.
        max_value_bytes: Longer requests are rejected.
        chunk_size: Requests that are read and scored together.
        scenario_path: Path of the scenario's name; empty without scenarios.
        by: Paths whose values are kept as text.
    """

    models: tuple[ArtifactFiles, ...]
    threads: int
    batch: int
    max_value_bytes: int
    chunk_size: int
    scenario_path: str = ""
    by: tuple[str, ...] = ()


class RejectedRecord(NamedTuple):
    """A record that cannot be decided: its index in the piece, and why."""

    at: int
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class ScoredPiece:
    """The scored requests of a piece of M records.

    Attributes:
        frame: One row per request: ``request_id``, ``at`` (index among the M records), ``offset``,
            ``timestamp``, ``hash``, ``sequence``, those of ``scenario``, ``scenario_row``,
            ``logged_*`` and ``by_*`` that there are, and :func:`score_columns` of each model.
        times_M: Timestamps of all records.
        offsets_M: Their offsets.
        lines_M: Their lines.
        line_count: Lines of the piece.
        rejects: The records that are not in the frame.
        refused_headers: ``weir`` headers that could not be read.
    """

    frame: pl.DataFrame
    times_M: Ints
    offsets_M: Ints
    lines_M: Ints | None
    line_count: int
    rejects: list[RejectedRecord]
    refused_headers: int


def score_columns(model: int, tasks: int) -> tuple[list[str], list[str]]:
    """Names of the columns with a model's scores and uncertainties, one per task."""
    return (
        [f"m{model}_s{task}" for task in range(tasks)],
        [f"m{model}_u{task}" for task in range(tasks)],
    )


class PieceScorer:
    """Scores pieces in this process."""

    def __init__(self, plan: ScoringPlan) -> None:
        self._plan = plan
        self._models = [
            LoadedModel(
                open_artifact(files),
                threads=plan.threads,
                batch=plan.batch,
                scenario_path=plan.scenario_path,
            )
            for files in plan.models
        ]
        self._paths = {f"by_{path}": Path.parse(path).steps for path in plan.by}
        if plan.scenario_path:
            self._paths["scenario"] = Path.parse(plan.scenario_path).steps

    def score(self, piece: Piece, verdict: str | None) -> ScoredPiece:
        """Read and score a piece.

        Args:
            piece: The piece.
            verdict: The logged verdict about all its records, where their topic tells it.

        Raises:
            RequestFileError: If its file is damaged.
        """
        records = piece.read()
        size = self._plan.chunk_size
        rejects: list[RejectedRecord] = []
        frames = [
            self._score_chunk(records, slice(start, start + size), rejects)
            for start in range(0, len(records), size)
        ]
        frame = pl.concat(frames, rechunk=True) if frames else pl.DataFrame()
        refused = 0
        if records.headers is not None and frame.height:
            frame, refused = _with_headers(frame, records, verdict)
        return ScoredPiece(
            frame, records.times_M, records.offsets_M, records.lines_M, records.line_count,
            rejects, refused,
        )  # fmt: skip

    def _score_chunk(
        self, records: Records, rows: slice, rejects: list[RejectedRecord]
    ) -> pl.DataFrame:
        values, times_N = records.values[rows], records.times_M[rows]
        first, *others = self._models
        intake = ingest(first.extractor, values, times_N, self._plan.max_value_bytes)
        for index, reject in intake.rejects:
            at = rows.start + index
            why = records.unreadable.get(at)
            code = reject.code if why is None else RejectCode.UNREADABLE
            rejects.append(RejectedRecord(at, code.value, why or reject.message))
        kept_N = np.array(intake.kept, np.int64)
        at_N = kept_N + rows.start
        columns: dict[str, Any] = {
            "request_id": pl.Series(intake.request_ids, dtype=pl.String),
            "at": at_N,
            "offset": records.offsets_M[at_N],
            "timestamp": records.times_M[at_N],
            "hash": intake.hashes_N,
        }
        self._add_scores(columns, 0, first, intake)
        kept_values = [values[at] for at in intake.kept]
        by_spec = {first.spec_hash: intake}
        for number, model in enumerate(others, 1):
            if model.spec_hash not in by_spec:
                by_spec[model.spec_hash] = ingest(
                    model.extractor, kept_values, times_N[kept_N], self._plan.max_value_bytes
                )
            self._add_scores(columns, number, model, by_spec[model.spec_hash])
        if self._paths:
            docs = [loads(value or b"") for value in kept_values]
            for name, steps in self._paths.items():
                texts = [text_at(doc, steps) for doc in docs]
                columns[name] = pl.Series(texts, dtype=pl.String)
        return pl.DataFrame(columns)

    def _add_scores(
        self, columns: dict[str, Any], number: int, model: LoadedModel, intake: Intake
    ) -> None:
        ids_NC = intake.ids_NC
        if model.reads_scenario:
            columns.setdefault("scenario_row", ids_NC[:, -1].copy())
            ids_NC = np.ascontiguousarray(ids_NC[:, :-1])
        scores_NT, uncertainties_NT = model.scorer.score(ids_NC)
        names = score_columns(number, len(model.tasks))
        for task, (score, uncertainty) in enumerate(zip(*names, strict=True)):
            columns[score] = scores_NT[:, task].copy()
            columns[uncertainty] = uncertainties_NT[:, task].copy()


def _with_headers(
    frame: pl.DataFrame, records: Records, verdict: str | None
) -> tuple[pl.DataFrame, int]:
    """Add what the headers say: the publisher's number and the logged decision."""
    headers = [(records.headers or ())[at] for at in frame["at"].to_list()]
    logged = read_logged(headers, verdict)
    columns = [pl.Series("sequence", [sequence_number(each) for each in headers], pl.Int64)]
    columns += [
        pl.Series(name, values, pl.Float64 if name in _FIGURES else pl.String)
        for name, values in logged.columns.items()
    ]
    if verdict is not None:
        pairs = zip(logged.offsets, frame["offset"].to_list(), strict=True)
        source = [offset if said is None else said for said, offset in pairs]
        columns.append(pl.Series("offset", source, pl.Int64))
    return frame.with_columns(columns), logged.refused


_FIGURES: Final = ("logged_propensity", "logged_e", "logged_threshold")


def text_at(doc: Any, steps: Sequence[Step]) -> str | None:
    """The text of the first value at a path in a request; None without one."""
    for at, step in enumerate(steps):
        if step == EACH:
            found = (text_at(each, steps[at + 1 :]) for each in _list(doc))
            return next((text for text in found if text is not None), None)
        if step == INSIDE:
            doc = _inside(doc)
        elif isinstance(step, str):
            doc = doc.get(step) if isinstance(doc, dict) else None
        else:
            doc = doc[step] if isinstance(doc, list) and step < len(doc) else None
    return text_of(doc)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _inside(value: Any) -> Any:
    try:
        return loads(value) if isinstance(value, str) else value
    except orjson.JSONDecodeError:
        return None
