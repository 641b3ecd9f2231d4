"""Columns of the two tables, and frames of messages.

``examples`` has a row per delivery of a passed request, ``outcomes`` one per delivery of an
outcome. Each row names the record that it came from (partition, offset) and lies in the partition
of its event time's hour, in UTC.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple, Self

import msgspec
import numpy as np
import polars as pl
from deltalake.schema import ArrayType, Field, PrimitiveType, Schema

from stream.messages import Outcome, TrainingExample

HOUR_MS: Final = 3_600_000
HOUR: Final = "hour"
"""Column of the partition: the hour of event time, such as ``2026-11-30T14``."""
_HOUR_FORMAT: Final = "%Y-%m-%dT%H"

EXAMPLE_COLUMNS: Final[dict[str, pl.DataType]] = {
    "request_id": pl.String(),
    "ts": pl.Int64(),
    "spec": pl.String(),
    "features": pl.List(pl.Int32()),
    "model": pl.String(),
    "reason": pl.String(),
    "e": pl.Float64(),
    "threshold": pl.Float64(),
    "propensity": pl.Float64(),
    "weight": pl.Float64(),
    "scenario": pl.Int32(),
    "partition": pl.Int32(),
    "offset": pl.Int64(),
    "thinned": pl.Int8(),
    HOUR: pl.String(),
}
"""``thinned`` is 1 once :mod:`trainer.store.thinning` has decided about the row, else 0."""

OUTCOME_COLUMNS: Final[dict[str, pl.DataType]] = {
    "request_id": pl.String(),
    "task": pl.String(),
    "ts": pl.Int64(),
    "partition": pl.Int32(),
    "offset": pl.Int64(),
    HOUR: pl.String(),
}

_PRIMITIVES: Final = {
    pl.String: "string",
    pl.Int64: "long",
    pl.Int32: "integer",
    pl.Int8: "byte",
    pl.Float64: "double",
}


class StoredExample(NamedTuple):
    """A consumed example, with its features as an array, and the record that it came from."""

    example: TrainingExample
    features_C: np.ndarray[tuple[int], np.dtype[np.int32]]
    partition: int
    offset: int

    @classmethod
    def of(cls, example: TrainingExample, partition: int, offset: int) -> Self:
        """The row of an example."""
        features_C = np.array(example.features, np.int32)
        return cls(msgspec.structs.replace(example, features=[]), features_C, partition, offset)


class StoredOutcome(NamedTuple):
    """A consumed outcome, and the record that it came from."""

    outcome: Outcome
    partition: int
    offset: int


def hour_of(ms: int) -> str:
    """Partition of an event time."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime(_HOUR_FORMAT)


def hour_start_ms(hour: str) -> int:
    """First millisecond of a partition."""
    return int(datetime.strptime(hour, _HOUR_FORMAT).replace(tzinfo=UTC).timestamp()) * 1000


def delta_schema(columns: dict[str, pl.DataType]) -> Schema:
    """The schema of a Delta table with these columns."""
    return Schema([Field(name, _delta_type(kind)) for name, kind in columns.items()])


def example_frame(rows: Sequence[StoredExample]) -> pl.DataFrame:
    """Rows of the table ``examples``."""
    columns: dict[str, object] = {
        "request_id": [row.example.request_id for row in rows],
        "ts": [row.example.ts for row in rows],
        "spec": [row.example.spec for row in rows],
        "features": [row.features_C for row in rows],
        "model": [row.example.decision.model for row in rows],
        "reason": [row.example.decision.reason.label for row in rows],
        "e": [row.example.decision.e for row in rows],
        "threshold": [row.example.decision.threshold for row in rows],
        "propensity": [row.example.decision.propensity for row in rows],
        "weight": [row.example.weight for row in rows],
        "scenario": [row.example.scenario for row in rows],
        "partition": [row.partition for row in rows],
        "offset": [row.offset for row in rows],
        "thinned": np.zeros(len(rows), np.int8),
        HOUR: [hour_of(row.example.ts) for row in rows],
    }
    return pl.DataFrame(columns, schema=EXAMPLE_COLUMNS)


def outcome_frame(rows: Sequence[StoredOutcome]) -> pl.DataFrame:
    """Rows of the table ``outcomes``."""
    columns: dict[str, object] = {
        "request_id": [row.outcome.request_id for row in rows],
        "task": [row.outcome.task for row in rows],
        "ts": [row.outcome.ts for row in rows],
        "partition": [row.partition for row in rows],
        "offset": [row.offset for row in rows],
        HOUR: [hour_of(row.outcome.ts) for row in rows],
    }
    return pl.DataFrame(columns, schema=OUTCOME_COLUMNS)


def _delta_type(kind: pl.DataType) -> PrimitiveType | ArrayType:
    if isinstance(kind, pl.List):
        return ArrayType(PrimitiveType("integer"), contains_null=True)
    return PrimitiveType(_PRIMITIVES[type(kind)])
