"""categorical: one value, by the hash of its text."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from models.features.columns import Columns
from models.features.feature import Feature, Ids
from models.features.layout import Layout, Reading
from models.features.path import EACH
from models.features.plan import COMMA, Op, OpCode, PlanBuilder
from models.features.spec_reader import TableReader
from models.features.values import RowMemo, name_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoricalFeature(Feature):
    """One value; where a path reaches several, the first that is not missing.

    Attributes:
        zeros_missing: Whether a text of zeros and hyphens alone is missing.
    """

    kind: ClassVar[str] = "categorical"
    keys: ClassVar[frozenset[str]] = frozenset({"path", "size", "zeros_missing"})

    zeros_missing: bool = False

    @classmethod
    def parse(cls, table: TableReader, before: Sequence[Feature], **position: Any) -> Self:
        """Read the table: ``path``, ``size`` and ``zeros_missing``."""
        del before
        zeros = table.get("zeros_missing", False)
        if not isinstance(zeros, bool):
            table.fail("zeros_missing", f"must be true or false, not {zeros!r}")
        places, size = table.places(many=True), table.size()
        return cls(size=size, places=places, zeros_missing=zeros, **position)

    @classmethod
    def reader(cls, features: Sequence[Self], layout: Layout) -> "CategoricalReader":
        """A reader of all of them, with a memo per feature."""
        return CategoricalReader(
            [
                (reading, RowMemo(f.name, f.size, f.offset, zeros_missing=f.zeros_missing))
                for f in features
                for reading in layout.readings(f)
            ]
        )

    def compile(self, plan: PlanBuilder, layout: Layout) -> bool:
        """One hash operation per place; a text where a list belongs is split at commas."""
        hashed = {"buckets": self.size - 1, "seed": name_seed(self.name)}
        for reading in layout.readings(self):
            steps, column = reading.steps, reading.column
            flag = int(self.zeros_missing)
            plan.add(steps, Op(OpCode.ROW, column, size=1, flag=flag, **hashed))
            if steps[-1] == 0 and not self.zeros_missing and EACH not in steps:
                counter, text = plan.counter(), plan.text(COMMA)
                split = Op(
                    OpCode.SPLIT, column, text, 1, counter=counter, flag=len(COMMA), **hashed
                )
                plan.add(steps[:-1], split)
                plan.expect_lists(steps[:-1])
            else:
                plan.expect_lists(steps)
        return True


class CategoricalReader:
    """Reads hashed values.

    Args:
        readings: Places with the memos of their features.
    """

    def __init__(self, readings: Sequence[tuple[Reading, RowMemo]]) -> None:
        self._readings = readings

    def fill(self, ids_EN: Ids, columns: Columns, times_N: npt.NDArray[np.int64]) -> None:
        """Write the features' columns."""
        for reading, memo in self._readings:
            if columns.nothing_at(reading.steps):
                ids_EN[reading.column] = memo.missing
            else:
                values = _values(reading, columns, memo)
                ids_EN[reading.column] = memo.rows(values, len(times_N))


def _values(reading: Reading, columns: Columns, memo: RowMemo) -> Iterable[Any]:
    """The N values at a place; of several the first that is not missing."""
    if EACH not in reading.steps:
        return columns.values(reading.steps)
    return [
        next((value for value in values if memo.row_of(value) != memo.missing), None)
        for values in columns.elements(reading.steps)
    ]
