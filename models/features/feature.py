"""The base of all feature kinds: a name, where values are found in a request, and table rows.

A kind of feature is a subclass of :class:`Feature` in :mod:`models.features.kinds`. It reads its
``[[feature]]`` table of a spec, turns values of decoded requests into ids, and, where the compiled
scanner supports it, adds the same operations to the scanner's plan.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt

from models.errors import UserError
from models.features.path import Path

if TYPE_CHECKING:
    from models.features.columns import Columns
    from models.features.layout import Layout
    from models.features.plan import PlanBuilder
    from models.features.spec_reader import TableReader

Ids = npt.NDArray[np.int32]


class SpecError(UserError, ValueError):
    """A feature spec that cannot be used; the message names file, feature, key and the fix."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a request where a feature's value may be.

    Attributes:
        path: The path of the value.
        plus: numeric: added to the value, so that codes of two vocabularies do not collide.
    """

    path: Path
    plus: float = 0.0

    def __str__(self) -> str:
        return f"{self.path} + {self.plus:g}" if self.plus else str(self.path)


class KindReader(Protocol):
    """Reads all features of one kind from decoded requests."""

    def fill(self, ids_EN: Ids, columns: "Columns", times_N: npt.NDArray[np.int64]) -> None:
        """Write the ids of the features' columns.

        Args:
            ids_EN: Ids of the E columns of the layout and N requests; written in place.
            columns: Values of the N requests by path.
            times_N: Timestamps of the requests' records, int64 ms.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature(ABC):
    """One feature of a spec.

    Attributes:
        name: Unique within the spec; also the seed of the feature's hash.
        size: Number of rows of the embedding table that it owns: ``offset`` .. ``offset + size``.
        column: Its first column in ``ids_NC``.
        offset: Its first row, which means "missing".
        slots: Number of columns; more than 1 for features with several values per request.
        places: Where its value may be, in order of precedence: the first place whose value is not
            missing counts.
    """

    kind: ClassVar[str]
    """Name of the kind in a spec."""
    keys: ClassVar[frozenset[str]]
    """Keys of the kind's ``[[feature]]`` table besides ``name`` and ``kind``."""
    columns_per_place: ClassVar[bool] = True
    """Whether every place is read into columns of its own, of which the first that is not missing
    counts; otherwise the kind itself chooses among its places."""
    derived: ClassVar[bool] = False
    """Whether ids are computed from those of features above it, after all others are read."""

    name: str
    size: int
    column: int
    offset: int
    slots: int = 1
    places: tuple[Place, ...] = ()

    @classmethod
    @abstractmethod
    def parse(cls, table: "TableReader", before: Sequence["Feature"], **position: Any) -> Self:
        """Read a feature from its table.

        Args:
            table: Its table of the spec.
            before: The features above it.
            **position: ``name``, ``column`` and ``offset`` of the feature.

        Raises:
            SpecError: Naming the key that is wrong.
        """

    @classmethod
    @abstractmethod
    def reader(cls, features: Sequence[Any], layout: "Layout") -> KindReader:
        """The reference reader, in Python.

        Args:
            features: All features of this kind in a spec; one at a time if the kind is derived.
            layout: Columns of their places.
        """

    def compile(self, plan: "PlanBuilder", layout: "Layout") -> bool:
        """Add to the compiled scanner's plan what this feature needs.

        Args:
            plan: The plan under construction.
            layout: Columns of the feature's places.

        Returns:
            False if the scanner cannot read this feature. The whole spec is then read in Python.
        """
        del plan, layout
        return False
