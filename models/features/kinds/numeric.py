"""numeric: a number, by the bucket between boundaries that it falls into."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from models.features.columns import Columns
from models.features.feature import Feature, Ids, Place
from models.features.kinds.buckets import BucketColumn, Buckets, parse_boundaries
from models.features.layout import Layout
from models.features.path import EACH, Steps
from models.features.plan import Op, OpCode, PlanBuilder
from models.features.spec_reader import TableReader
from models.features.values import FloatArray, number_of


@dataclass(frozen=True, slots=True, kw_only=True)
class NumericFeature(Feature):
    """A number; where a path reaches several values, the first finite number.

    Attributes:
        boundaries: Bucket k has the values with k boundaries <= value.
    """

    kind: ClassVar[str] = "numeric"
    keys: ClassVar[frozenset[str]] = frozenset({"path", "boundaries", "linear", "log"})

    boundaries: tuple[float, ...]

    @classmethod
    def parse(cls, table: TableReader, before: Sequence[Feature], **position: Any) -> Self:
        """Read the table: ``path``, and one of ``boundaries``, ``linear`` and ``log``."""
        del before
        places = table.places(many=True, plus=True)
        edges = parse_boundaries(table)
        return cls(size=len(edges) + 2, places=places, boundaries=edges, **position)

    @classmethod
    def reader(cls, features: Sequence[Self], layout: Layout) -> "NumericReader":
        """A reader of all numbers at once."""
        columns = [
            (reading.steps, BucketColumn(each, each.boundaries_at(reading.place), reading.column))
            for each in features
            for reading in layout.readings(each)
        ]
        columns.sort(key=lambda column: column[1].boundaries)
        return NumericReader([steps for steps, _ in columns], Buckets([c for _, c in columns]))

    def boundaries_at(self, place: Place) -> tuple[float, ...]:
        """The boundaries for values as they are at a place, before ``plus`` is added."""
        return tuple(edge - place.plus for edge in self.boundaries)

    def compile(self, plan: PlanBuilder, layout: Layout) -> bool:
        """One bucket operation per place."""
        for reading in layout.readings(self):
            first, count = plan.boundaries(self.boundaries_at(reading.place))
            plan.add(reading.steps, Op(OpCode.BUCKET, reading.column, first, count))
            plan.expect_lists(reading.steps)
        return True


class NumericReader:
    """Reads numbers.

    Args:
        paths: Paths of the F columns.
        buckets: The F columns.
    """

    def __init__(self, paths: Sequence[Steps], buckets: Buckets) -> None:
        self._paths = paths
        self._buckets = buckets

    def fill(self, ids_EN: Ids, columns: Columns, times_N: npt.NDArray[np.int64]) -> None:
        """Write the features' columns."""
        count = len(times_N)
        self._buckets.fill(ids_EN, self._values(columns, count).reshape(len(self._paths), count))

    def _values(self, columns: Columns, count: int) -> FloatArray:
        """The values of all columns end to end: in one call unless some are not numbers."""
        values = chain.from_iterable(
            repeat(np.nan, count) if columns.nothing_at(steps) else _values_at(steps, columns)
            for steps in self._paths
        )
        try:
            return np.fromiter(values, np.float64, count * len(self._paths))
        except (TypeError, ValueError, OverflowError):
            return np.concatenate([numbers_at(steps, columns, count) for steps in self._paths])


def numbers_at(steps: Steps, columns: Columns, count: int) -> FloatArray:
    """The N numbers at a path, NaN where there is none."""
    try:
        return np.fromiter(list(_values_at(steps, columns)), np.float64, count)
    except (TypeError, ValueError, OverflowError):
        return np.fromiter(map(number_of, _values_at(steps, columns)), np.float64, count)


def _values_at(steps: Steps, columns: Columns) -> Iterable[Any]:
    """The N values at a path, NaN where there is none; of several the first finite number."""
    if EACH not in steps:
        return columns.values(steps, np.nan)
    return map(_first_number, columns.elements(steps))


def _first_number(values: Iterable[Any]) -> float:
    return next(filter(math.isfinite, map(number_of, values)), math.nan)
