"""What an artifact's training requests looked like: ``reference.json``, to measure drift against.

Per feature the counts of its most frequent ids and of all others together, per task the counts of
the student's scores between deciles. Drift is the population stability index (PSI) of new counts
against these, ``sum_b (p_b - q_b) ln(p_b / q_b)`` over the bins, with shares p of the new and q of
the reference requests (Siddiqi 2006, Credit Risk Scorecards; below 0.1 is usually read as stable,
above 0.25 as shifted). Time features, and crosses with one, move by themselves and are left out.

N rows, C columns of ids, R rows of the embedding table, B bins, T tasks.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.bounds import MAX_FEATURES, MAX_TASKS
from models.errors import UserError
from models.features import FeatureSpec
from models.features.feature import Feature
from models.tasks import TaskSet
from models.validation import first_fault

REFERENCE_FILE: Final = "reference.json"
FEATURE_IDS: Final = 15
"""Ids of a feature that have a bin of their own: "missing" and the most frequent ones."""
SCORE_BINS: Final = 10
Floats = npt.NDArray[np.float64]
Count = Annotated[float, Field(ge=0, le=2**53)]


class ReferenceFileError(UserError, ValueError):
    """A reference that cannot be used; the message says why."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FeatureCounts(_Record):
    """Counts of one feature.

    Attributes:
        name: Name of the feature.
        ids: Ids with a bin of their own, as rows of the embedding table; the first is "missing".
        counts: Weighted count per id, then of all other ids of the feature.
    """

    name: str
    ids: tuple[Annotated[int, Field(ge=0)], ...] = Field(max_length=FEATURE_IDS)
    counts: tuple[Count, ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.counts) != len(self.ids) + 1:
            raise ValueError(f"{self.name}: {len(self.counts)} counts for {len(self.ids)} ids")
        return self


class ScoreCounts(_Record):
    """Counts of one task's scores.

    Attributes:
        edges: Upper edges of the bins but the last, ascending.
        counts: Weighted count per bin.
    """

    edges: tuple[float, ...] = Field(max_length=SCORE_BINS)
    counts: tuple[Count, ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.counts) != len(self.edges) + 1 or list(self.edges) != sorted(self.edges):
            raise ValueError("scores: ascending edges, and a count more than edges, are needed")
        return self


class Reference(_Record):
    """The content of ``reference.json``.

    Attributes:
        rows: Number of requests that were counted.
        features: Counts by feature, in the order of the spec.
        scores: Counts of the student's scores, by task.
    """

    rows: Annotated[int, Field(ge=0)]
    features: tuple[FeatureCounts, ...] = Field(max_length=MAX_FEATURES)
    scores: dict[str, ScoreCounts] = Field(max_length=MAX_TASKS)

    @classmethod
    def of(
        cls,
        table: "TableCounts",
        spec: FeatureSpec,
        scores_NT: npt.NDArray[np.floating[Any]],
        tasks: TaskSet,
    ) -> Self:
        """The reference of counted ids, and of the scores of some of these requests."""
        return cls(
            rows=table.rows,
            features=tuple(_feature_counts(feature, table.counts_R) for feature in steady(spec)),
            scores={
                name: _score_counts(scores_NT[:, column]) for column, name in enumerate(tasks.names)
            },
        )

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Read ``reference.json``.

        Raises:
            ReferenceFileError: Naming the field that is wrong.
        """
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise ReferenceFileError(f"{REFERENCE_FILE}: {first_fault(error)}") from error

    def to_bytes(self) -> bytes:
        """Content of ``reference.json``."""
        return (self.model_dump_json() + "\n").encode()

    def feature_psi(self, table: "TableCounts") -> dict[str, float]:
        """PSI of each feature; infinite nowhere, because each bin starts with half a request."""
        found = {}
        for feature, at in zip(self.features, self._places(table), strict=True):
            own_B = table.counts_R[list(feature.ids)]
            rest = table.counts_R[at].sum() - own_B.sum()
            found[feature.name] = psi(np.array(feature.counts), np.append(own_B, rest))
        return found

    def score_psi(
        self, scores_NT: npt.NDArray[np.floating[Any]], tasks: TaskSet
    ) -> dict[str, float]:
        """PSI of each task's scores."""
        return {
            name: psi(
                np.array(self.scores[name].counts),
                _binned(scores_NT[:, column], self.scores[name].edges),
            )
            for column, name in enumerate(tasks.names)
            if name in self.scores
        }

    def _places(self, table: "TableCounts") -> list[slice]:
        """Rows of the embedding table that belong to each feature.

        Raises:
            ReferenceFileError: If a feature is not one of the spec that the ids were counted by.
        """
        unknown = [each.name for each in self.features if each.name not in table.places]
        if unknown:
            raise ReferenceFileError(
                f"{REFERENCE_FILE}: {unknown[0]!r} is not a feature of the spec"
            )
        return [table.places[each.name] for each in self.features]


class TableCounts:
    """Counts of ids over any number of requests, in memory for one embedding table.

    Args:
        spec: Feature spec of the ids.

    Attributes:
        rows: Number of requests that were counted.
        counts_R: Weighted count per row of the embedding table.
        places: Rows of the embedding table, by feature.
    """

    def __init__(self, spec: FeatureSpec) -> None:
        self.rows = 0
        self.counts_R: Floats = np.zeros(spec.rows)
        self.places: Mapping[str, slice] = {
            each.name: slice(each.offset, each.offset + each.size) for each in spec.features
        }

    def add(
        self, ids_NC: npt.NDArray[np.integer[Any]], weights_N: npt.NDArray[np.floating[Any]]
    ) -> None:
        """Count requests, each as often as its weight says."""
        weights = np.repeat(weights_N.astype(np.float64), ids_NC.shape[1])
        self.counts_R += np.bincount(ids_NC.ravel(), weights, minlength=len(self.counts_R))
        self.rows += len(ids_NC)


def psi(reference_B: npt.NDArray[np.floating[Any]], new_B: npt.NDArray[np.floating[Any]]) -> float:
    """Population stability index of counts; half a request is added to each bin of both."""
    q_B, p_B = ((counts_B + 0.5) / (counts_B + 0.5).sum() for counts_B in (reference_B, new_B))
    return float(((p_B - q_B) * np.log(p_B / q_B)).sum())


def steady(spec: FeatureSpec) -> Iterable[Feature]:
    """The features of a spec that time alone does not change."""
    return [feature for feature in spec.features if not _follows_time(feature)]


def _follows_time(feature: Feature) -> bool:
    parts: tuple[Feature, ...] = getattr(feature, "parts", ())
    return feature.kind == "time" or any(map(_follows_time, parts))


def _feature_counts(feature: Feature, counts_R: Floats) -> FeatureCounts:
    own_R = counts_R[feature.offset : feature.offset + feature.size]
    frequent = 1 + np.argsort(-own_R[1:], kind="stable")[: FEATURE_IDS - 1]
    picked = [0, *(int(each) for each in frequent if own_R[each] > 0)]
    rest = float(own_R.sum() - own_R[picked].sum())
    return FeatureCounts(
        name=feature.name,
        ids=tuple(feature.offset + each for each in picked),
        counts=(*(round(float(own_R[each]), 1) for each in picked), round(max(rest, 0.0), 1)),
    )


def _score_counts(scores_N: npt.NDArray[np.floating[Any]]) -> ScoreCounts:
    inner = np.linspace(0, 1, SCORE_BINS + 1)[1:-1]
    edges = np.unique(np.quantile(scores_N, inner)) if len(scores_N) else np.array([])
    edges_B = tuple(float(edge) for edge in edges)
    return ScoreCounts(edges=edges_B, counts=tuple(_binned(scores_N, edges_B).tolist()))


def _binned(scores_N: npt.NDArray[np.floating[Any]], edges: tuple[float, ...]) -> Floats:
    bins_N = np.searchsorted(np.array(edges), scores_N.astype(np.float64), side="right")
    return np.bincount(bins_N, minlength=len(edges) + 1).astype(np.float64)
