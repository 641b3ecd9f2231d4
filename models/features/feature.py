"""What a feature is: a name, a kind, where its value lies, and the rows that it owns."""

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
class Feature:
    """One feature, in its place.

    Attributes:
        name: Unique within the spec; also the seed of the feature's hash.
        kind: How values become ids.
        size: How many rows of the embedding table it owns: ``offset`` .. ``offset + size``.
        column: Its first column in ``ids_NC``.
        offset: Its first row, which means "missing".
        slots: How many columns it takes; 1 for every kind but tags.
        path: Where its value lies; None for a cross.
        boundaries: numeric, count: bucket k holds the values with k boundaries <= value.
        split: tags: separator of a string that holds several, or "" for a list.
        part: time: which calendar part; None for other kinds.
        utc_offset: time: where the minutes to add lie, or None for UTC.
        parts: cross: the names of the features that are combined.
    """

    name: str
    kind: Kind
    size: int
    column: int
    offset: int
    slots: int = 1
    path: Path | None = None
    boundaries: tuple[float, ...] = ()
    split: str = ""
    part: Part | None = None
    utc_offset: Path | None = None
    parts: tuple[str, ...] = ()


def path_of(feature: Feature) -> Path:
    """The path of a feature that must have one.

    Raises:
        ValueError: If it has none.
    """
    if feature.path is None:
        raise ValueError(f"feature {feature.name!r}: a {feature.kind} feature needs a path")
    return feature.path
