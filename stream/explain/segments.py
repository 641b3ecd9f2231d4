"""How much training data was like the request: nested segments, and the nearest rows.

The features that moved the score most, in that order, span *segments*: the rows that share the
first feature's ids, then the first two's, and so on, until few rows are left. Beside them stand
the *nearest* rows: those that share the most features with the request (1 - Hamming distance over
the features that it has). Both are counted in one pass, in bounded memory.

Without rows at hand, the artifact's own reference (:mod:`models.artifact.reference`) has the counts
of each feature's most frequent ids, and of no combination.

A features, B rows of a batch, C columns, T tasks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.artifact.reference import Reference, ReferenceFileError
from models.data.examples import Examples
from models.features.feature import Ids
from models.tasks import TaskSet
from stream.explain.values import FeatureValue

DEPTH: Final = 6
"""Segments at most: features that are combined."""
NEAREST: Final = 100
"""Rows that count as the nearest."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Segment:
    """Rows of the training data that are like the request.

    Attributes:
        of: Names of the features whose ids they share.
        rows: Their number, by weight: a row that stands for n requests counts n.
        labels: Number of known labels per task, on the task's population.
        positives: Events among these.
        similarity: Least share of the request's features that they have; 1 in a segment of names.
    """

    of: tuple[str, ...]
    rows: float
    labels: dict[str, float]
    positives: dict[str, float]
    similarity: float


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What training data there was.

    Attributes:
        rows: Rows in all, by weight.
        segments: Nested segments, the widest first.
        nearest: The nearest rows; None without any row.
    """

    rows: float
    segments: tuple[Segment, ...]
    nearest: Segment | None


def count_segments(
    batches: Iterable[Examples],
    tasks: TaskSet,
    ids_C: Ids,
    players: Sequence[tuple[str, Sequence[int]]],
    order: Sequence[int],
) -> TrainingData:
    """Count the rows that are like the request.

    Args:
        batches: The training data; :func:`models.data.examples.stream_examples` reads it.
        tasks: The tasks of the labels.
        ids_C: Ids of the request.
        players: Name and columns of each feature that reads something.
        order: Players that moved the score most, first.

    Raises:
        ExampleError: If a file cannot be read; it names file, column and fix.
    """
    picked = list(order)[:DEPTH]
    names = [players[player][0] for player in picked]
    counts = [_Counts(len(tasks.names)) for _ in picked]
    total = 0.0
    nearest = _Nearest(len(tasks.names))
    for batch in batches:
        targets_BT, weights_B = batch.targets(tasks), batch.weights.astype(np.float64)
        total += float(weights_B.sum())
        equal_BA = (
            np.stack(
                [
                    (batch.features_NC[:, cols] == ids_C[cols]).all(axis=1)
                    for _, cols in _lists(players)
                ],
                axis=1,
            )
            if players
            else np.zeros((len(batch), 0), np.bool_)
        )
        inside_B = np.ones(len(batch), np.bool_)
        for player, count in zip(picked, counts, strict=True):
            inside_B = inside_B & equal_BA[:, player]
            count.add(targets_BT[inside_B], weights_B[inside_B])
        nearest.add(equal_BA.sum(axis=1), targets_BT, weights_B)
    segments = tuple(
        count.segment(tuple(names[: depth + 1]), tasks, 1.0) for depth, count in enumerate(counts)
    )
    return TrainingData(total, segments, nearest.segment(tasks, len(players)))


def _lists(players: Sequence[tuple[str, Sequence[int]]]) -> list[tuple[str, list[int]]]:
    return [(name, list(columns)) for name, columns in players]


class _Counts:
    """Rows, known labels and events of a segment."""

    def __init__(self, tasks: int) -> None:
        self.rows = 0.0
        self.labels_T: Floats = np.zeros(tasks)
        self.positives_T: Floats = np.zeros(tasks)

    def add(self, targets_BT: npt.NDArray[np.float32], weights_B: Floats) -> None:
        """Count rows."""
        known_BT = ~np.isnan(targets_BT)
        self.rows += float(weights_B.sum())
        self.labels_T += weights_B @ known_BT
        self.positives_T += weights_B @ np.where(known_BT, targets_BT, 0.0)

    def segment(self, of: tuple[str, ...], tasks: TaskSet, similarity: float) -> Segment:
        """The counts by task."""
        return Segment(
            of,
            self.rows,
            dict(zip(tasks.names, self.labels_T.tolist(), strict=True)),
            dict(zip(tasks.names, self.positives_T.tolist(), strict=True)),
            similarity,
        )


class _Nearest:
    """The rows that share most features so far, at most :data:`NEAREST` of them."""

    def __init__(self, tasks: int) -> None:
        self._shared_K = np.empty(0, np.int64)
        self._targets_KT = np.empty((0, tasks), np.float32)
        self._weights_K = np.empty(0)

    def add(
        self,
        shared_B: npt.NDArray[np.int64],
        targets_BT: npt.NDArray[np.float32],
        weights_B: Floats,
    ) -> None:
        """Keep what is nearer than what was kept."""
        shared_K = np.concatenate([self._shared_K, shared_B])
        kept_K = np.argsort(-shared_K, kind="stable")[:NEAREST]
        self._shared_K = shared_K[kept_K]
        self._targets_KT = np.concatenate([self._targets_KT, targets_BT])[kept_K]
        self._weights_K = np.concatenate([self._weights_K, weights_B])[kept_K]

    def segment(self, tasks: TaskSet, players: int) -> Segment | None:
        """What was kept."""
        if not len(self._shared_K) or not players:
            return None
        counts = _Counts(len(tasks.names))
        counts.add(self._targets_KT, self._weights_K)
        return counts.segment((), tasks, float(self._shared_K[-1]) / players)


def known_counts(reference: bytes | None, values: Sequence[FeatureValue]) -> dict[str, Any] | None:
    """Training rows by feature that had the same id, from the artifact's reference.

    Args:
        reference: Content of ``reference.json``; None if the artifact has none.
        values: What the features read.

    Returns:
        ``rows``, and ``features``: the number of rows with the id by name, where it is one of the
        feature's most frequent; for another id the number of all rows with rare ids, as text
        ``<= n``. None without a reference that can be read.
    """
    if reference is None:
        return None
    try:
        known = Reference.from_bytes(reference)
    except ReferenceFileError:
        return None
    by_name = {value.name: value for value in values}
    found: dict[str, Any] = {}
    for feature in known.features:
        value = by_name.get(feature.name)
        if value is None or value.missing:
            continue
        at = dict(zip(feature.ids, feature.counts, strict=False))
        first = value.ids[0]
        found[feature.name] = at.get(first, f"<= {feature.counts[-1]:g}")
    return {"rows": known.rows, "features": found}
