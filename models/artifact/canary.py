"""The canary batch of an artifact: requests, and what its student answered when it was trained.

A model that does not give its own recorded answers is not the model that was evaluated: another
runtime, a processor with other instructions, or a damaged installation. So the trainer records a
few requests in ``canary.json``, and whoever is about to serve the artifact scores them first: the
child process of the trial (:mod:`models.artifact.trial`), then the serving process itself. Their
ids are those of held-out requests, but no row is anyone's request: each column is shuffled. The
file is JSON, bounded, and listed with its hash in the manifest like every other.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Self

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from models.bounds import MAX_CANARY_BYTES, MAX_CANARY_IDS, MAX_CANARY_ROWS, MAX_FEATURES, MAX_TASKS

TOLERANCE: Final = 1e-3
"""Largest deviation from an answer, relative to ``answer + FLOOR``. Runtimes differ in the order of
summation, by some 1e-6; 1e-3 changes no decision that matters."""
FLOOR: Final = 1e-3
Floats32 = npt.NDArray[np.float32]
Answerer = Callable[[npt.NDArray[np.int32]], Sequence[Floats32]]

Id = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Answer = Annotated[float, Meta(ge=0, le=1e3)]
IdRows = Annotated[
    list[Annotated[list[Id], Meta(min_length=1, max_length=MAX_FEATURES)]],
    Meta(min_length=1, max_length=MAX_CANARY_ROWS),
]
AnswerRows = Annotated[
    list[Annotated[list[Answer], Meta(min_length=1, max_length=MAX_TASKS)]],
    Meta(min_length=1, max_length=MAX_CANARY_ROWS),
]


class CanaryError(ValueError):
    """A canary batch that cannot be read, or whose answers are not reproduced."""


class _File(Struct, forbid_unknown_fields=True):
    """Content of ``canary.json``."""

    tolerance: Annotated[float, Meta(gt=0, le=0.01)]
    ids: IdRows
    scores: AnswerRows
    uncertainties: AnswerRows


_DECODER: Final = msgspec.json.Decoder(_File)


class CanaryBatch:
    """N requests with C feature ids, and the recorded answers for T tasks.

    Args:
        ids_NC: Feature ids, int32.
        scores_NT: Recorded probabilities, float32.
        uncertainties_NT: Recorded standard deviations, float32.
        tolerance: Largest deviation from an answer, relative to ``answer + FLOOR``.
    """

    def __init__(
        self,
        ids_NC: npt.NDArray[np.int32],
        scores_NT: Floats32,
        uncertainties_NT: Floats32,
        tolerance: float = TOLERANCE,
    ) -> None:
        self.ids_NC = ids_NC
        self.scores_NT = scores_NT
        self.uncertainties_NT = uncertainties_NT
        self.tolerance = tolerance

    @classmethod
    def of(cls, ids_NC: npt.NDArray[np.integer[Any]], answer: Answerer) -> Self:
        """The answers to evenly spaced rows, as many as the file may have, shuffled per column.

        Args:
            ids_NC: Feature ids of real requests.
            answer: The student: scores and uncertainties of ids in int32.
        """
        most = max(1, min(64, MAX_CANARY_IDS // ids_NC.shape[1]))
        at = np.unique(np.linspace(0, len(ids_NC) - 1, most).astype(np.intp))
        shuffled_NC = np.random.default_rng(0).permuted(ids_NC[at].astype(np.int32), axis=0)
        scores_NT, uncertainties_NT = answer(shuffled_NC)
        return cls(shuffled_NC, scores_NT, uncertainties_NT)

    @classmethod
    def from_bytes(cls, raw: bytes, *, columns: int, rows: int, tasks: int) -> Self:
        """Read ``canary.json``.

        Args:
            raw: The content.
            columns: Columns of the artifact's spec.
            rows: Rows of the spec's embedding table; every id is less.
            tasks: Number of tasks.

        Raises:
            CanaryError: Naming the field that is missing, of the wrong type or shape, or out of
                bounds.
        """
        if len(raw) > MAX_CANARY_BYTES:
            raise CanaryError(f"{len(raw)} bytes; at most {MAX_CANARY_BYTES} are read")
        try:
            file = _DECODER.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise CanaryError(f"not a canary batch: {error}") from error
        ids_NC = _matrix("ids", file.ids, (len(file.ids), columns)).astype(np.int32)
        if ids_NC.max() >= rows:
            raise CanaryError(f"ids: {ids_NC.max()} is no row of the spec, which has {rows}")
        shape = (len(file.ids), tasks)
        scores_NT = _matrix("scores", file.scores, shape)
        if scores_NT.max() > 1:
            raise CanaryError(f"scores: {scores_NT.max():g} is no probability")
        uncertainties_NT = _matrix("uncertainties", file.uncertainties, shape)
        return cls(
            ids_NC,
            scores_NT.astype(np.float32),
            uncertainties_NT.astype(np.float32),
            file.tolerance,
        )

    def to_bytes(self) -> bytes:
        """Content of ``canary.json``; figures have nine digits, as many as float32 holds."""
        rows = self.ids_NC.tolist()
        return msgspec.json.encode(
            _File(self.tolerance, rows, _digits(self.scores_NT), _digits(self.uncertainties_NT))
        )

    def check(self, scores_NT: Floats32, uncertainties_NT: Floats32) -> None:
        """Compare answers with the recorded ones.

        Args:
            scores_NT: Probabilities that a model gave for ``ids_NC``.
            uncertainties_NT: Its standard deviations.

        Raises:
            CanaryError: Naming the worst row, its column, the answer and the recorded one.
        """
        for name, found_NT, wanted_NT in (
            ("score", scores_NT, self.scores_NT),
            ("uncertainty", uncertainties_NT, self.uncertainties_NT),
        ):
            deviation_NT = np.abs(found_NT - wanted_NT) / (wanted_NT + FLOOR)
            if not deviation_NT.max() <= self.tolerance:
                row, task = np.unravel_index(deviation_NT.argmax(), deviation_NT.shape)
                raise CanaryError(
                    f"canary row {row}: the {name} of task {task} is {found_NT[row, task]:.6g}, "
                    f"but it was {wanted_NT[row, task]:.6g} when the model was trained"
                )


def _matrix(
    name: str, rows: list[list[int]] | list[list[float]], shape: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """The rows as an array.

    Raises:
        CanaryError: If their shape is another one.
    """
    widths = {len(row) for row in rows}
    if len(rows) != shape[0] or widths != {shape[1]}:
        raise CanaryError(
            f"{name}: {len(rows)} rows of {sorted(widths)} columns, not {shape[0]} of {shape[1]}"
        )
    return np.array(rows, np.float64)


def _digits(values_NT: Floats32) -> list[list[float]]:
    return [[float(f"{value:.9g}") for value in row] for row in values_NT.tolist()]
