"""What a feature is: a name, a kind, where its value may lie, and the rows that it owns."""

from dataclasses import dataclass
from typing import Final, Literal

from models.errors import UserError
from models.features.path import Path

Kind = Literal["categorical", "numeric", "tags", "count", "time", "cross"]
Part = Literal["hour-of-day", "day-of-week", "hour-of-week"]

PART_VALUES: Final[dict[Part, int]] = {"hour-of-day": 24, "day-of-week": 7, "hour-of-week": 168}


class SpecError(UserError, ValueError):
    """A feature spec that cannot be used; the message names file, feature, field and the fix."""


@dataclass(frozen=True, slots=True)
class Place:
    """One place in a request where a feature's value may lie.

    Attributes:
        path: The way there.
        plus: numeric: added to the value, so that codes of two vocabularies stay apart.
    """

    path: Path
    plus: float = 0.0

    def __str__(self) -> str:
        return f"{self.path} + {self.plus:g}" if self.plus else str(self.path)


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature, in its place.

    Attributes:
        name: Unique within the spec; also the seed of the feature's hash.
        kind: How values become ids.
        size: How many rows of the embedding table it owns: ``offset`` .. ``offset + size``.
        column: Its first column in ``ids_NC``.
        offset: Its first row, which means "missing".
        slots: How many columns it takes; 1 for every kind but tags.
        places: Where its value may lie, tried in order: the first where it is not missing
            counts; none for a cross.
        boundaries: numeric, count: bucket k holds the values with k boundaries <= value.
        split: tags: separator of a string that holds several, or "" for a list.
        part: time: which calendar part; None for other kinds.
        utc_offset: time: where the minutes to add may lie, tried in order; UTC where none is.
        record_time: time: whether the record's own timestamp is the last place.
        zeros_missing: categorical: whether a text of zeros and hyphens alone is missing.
        parts: cross: the names of the features that are combined.
    """

    name: str
    kind: Kind
    size: int
    column: int
    offset: int
    slots: int = 1
    places: tuple[Place, ...] = ()
    boundaries: tuple[float, ...] = ()
    split: str = ""
    part: Part | None = None
    utc_offset: tuple[Path, ...] = ()
    record_time: bool = False
    zeros_missing: bool = False
    parts: tuple[str, ...] = ()
