"""cross: the combination of other features' values, by a hash of their rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from models.features.columns import Columns
from models.features.feature import Feature, Ids
from models.features.layout import Layout
from models.features.plan import PlanBuilder
from models.features.spec_reader import TableReader
from models.features.values import name_seed


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossFeature(Feature):
    """The combination of two or more features; missing where one of them is.

    Attributes:
        parts: The features that are combined.
    """

    kind: ClassVar[str] = "cross"
    keys: ClassVar[frozenset[str]] = frozenset({"of", "size"})
    columns_per_place: ClassVar[bool] = False
    derived: ClassVar[bool] = True

    parts: tuple[Feature, ...]

    @classmethod
    def parse(cls, table: TableReader, before: Sequence[Feature], **position: Any) -> Self:
        """Read the table: ``of`` and ``size``."""
        names = table.get("of")
        if not isinstance(names, list) or len(names) < 2 or len(set(map(repr, names))) < len(names):
            table.fail("of", "must list the names of two or more different features")
        known = {feature.name: feature for feature in before}
        for name in names:
            if not isinstance(name, str) or name not in known:
                table.fail("of", f"{name!r} is not a feature above this one")
            if known[name].slots > 1:
                table.fail("of", f"{name!r} has several slots; a cross needs one id per part")
        parts = tuple(known[name] for name in names)
        return cls(size=table.size(), parts=parts, **position)

    @classmethod
    def reader(cls, features: Sequence[Self], layout: Layout) -> "CrossReader":
        """A reader of one cross."""
        del layout
        return CrossReader(*features)

    def compile(self, plan: PlanBuilder, layout: Layout) -> bool:
        """The columns of its parts."""
        del layout
        columns = [part.column for part in self.parts]
        plan.add_cross(self.column, name_seed(self.name), self.size - 1, columns)
        return True


class CrossReader:
    """Computes a cross from the ids of its parts.

    Args:
        cross: The cross.
    """

    def __init__(self, cross: CrossFeature) -> None:
        self._cross = cross

    def fill(self, ids_EN: Ids, columns: Columns, times_N: npt.NDArray[np.int64]) -> None:
        """Write the cross's column."""
        del columns, times_N
        cross = self._cross
        parts_PN = np.stack([ids_EN[part.column] - part.offset for part in cross.parts])
        ids_EN[cross.column] = cross_rows(parts_PN, cross.name, cross.size, cross.offset)


def cross_rows(parts_PN: Ids, name: str, size: int, offset: int) -> Ids:
    """Rows of the combinations of P features.

    The parts are folded into a 64-bit state with the finaliser of SplitMix64 (Steele, Lea and
    Flood, "Fast splittable pseudorandom number generators", 2014) after each one.

    Args:
        parts_PN: Each part's row within its own feature; 0 is missing.
        name: Name of the cross, the seed.
        size: Number of rows of the cross.
        offset: Its first row, given where any part is missing.
    """
    state_N = np.full(parts_PN.shape[1], name_seed(name), np.uint64)
    for part_N in parts_PN.astype(np.uint64):
        state_N += part_N + np.uint64(0x9E3779B97F4A7C15)
        state_N = (state_N ^ (state_N >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state_N = (state_N ^ (state_N >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state_N ^= state_N >> np.uint64(31)
    rows_N = (state_N % np.uint64(size - 1)).astype(np.int32) + np.int32(offset + 1)
    rows_N[(parts_PN == 0).any(axis=0)] = offset
    return rows_N
