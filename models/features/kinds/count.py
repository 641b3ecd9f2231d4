"""count: the number of elements of a list, by the bucket that it falls into."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from models.features.columns import Columns
from models.features.feature import Feature, Ids
from models.features.kinds.buckets import BucketColumn, Buckets, parse_boundaries
from models.features.layout import Layout
from models.features.path import EACH, Steps
from models.features.plan import COMMA, Op, OpCode, PlanBuilder
from models.features.spec_reader import TableReader
from models.features.values import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class CountFeature(Feature):
    """The number of elements of a list; missing if there are none.

    Attributes:
        boundaries: Bucket k has the counts with k boundaries <= count.
    """

    kind: ClassVar[str] = "count"
    keys: ClassVar[frozenset[str]] = frozenset({"path", "boundaries", "linear", "log"})

    boundaries: tuple[float, ...]

    @classmethod
    def parse(cls, table: TableReader, before: Sequence[Feature], **position: Any) -> Self:
        """Read the table: ``path``, and one of ``boundaries``, ``linear`` and ``log``."""
        del before
        places = table.places(many=True)
        for place in places:
            if place.path.steps[-1] != EACH:
                table.fail("path", f"counts the elements of a list: write {place}[*]")
        edges = parse_boundaries(table)
        return cls(size=len(edges) + 2, places=places, boundaries=edges, **position)

    @classmethod
    def reader(cls, features: Sequence[Self], layout: Layout) -> "CountReader":
        """A reader of all counts at once."""
        columns = [
            (reading.steps, BucketColumn(each, each.boundaries, reading.column))
            for each in features
            for reading in layout.readings(each)
        ]
        columns.sort(key=lambda column: column[1].boundaries)
        return CountReader([steps for steps, _ in columns], Buckets([c for _, c in columns]))

    def compile(self, plan: PlanBuilder, layout: Layout) -> bool:
        """A counter per place; its bucket is computed at the end of a request."""
        for reading in layout.readings(self):
            counter = plan.element_counter(reading.steps)
            plan.add_count(reading.column, counter, *plan.boundaries(self.boundaries))
            text = plan.text(COMMA)
            separated = Op(OpCode.COUNT_PARTS, first=text, counter=counter, flag=len(COMMA))
            plan.add(reading.steps[:-1], separated)
            plan.expect_lists(reading.steps[:-1])
        return True


class CountReader:
    """Reads the lengths of lists.

    Args:
        paths: Paths of the F columns.
        buckets: The F columns.
    """

    def __init__(self, paths: Sequence[Steps], buckets: Buckets) -> None:
        self._paths = paths
        self._buckets = buckets

    def fill(self, ids_EN: Ids, columns: Columns, times_N: npt.NDArray[np.int64]) -> None:
        """Write the features' columns."""
        counts = [_counts(steps, columns, len(times_N)) for steps in self._paths]
        self._buckets.fill(ids_EN, np.stack(counts))


def _counts(steps: Steps, columns: Columns, count: int) -> FloatArray:
    if columns.nothing_at(steps):
        return np.full(count, np.nan)
    lengths_N = np.fromiter(map(len, columns.elements(steps)), np.float64, count)
    lengths_N[lengths_N == 0] = np.nan
    return lengths_N
