"""Where the values of features are read to: a column per place, of which the first filled counts.

The places of a feature after its first one have columns of their own, behind those that are seen.
What they found is moved to the feature's columns if all places before them found nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from models.features.feature import Feature
from models.features.path import Step

Steps = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """A feature read at one of its places.

    Attributes:
        feature: The feature, of any kind but time and cross.
        steps: The way to the place.
        boundaries: Those of the feature, as values there meet them.
        column: The first of ``feature.slots`` columns.
    """

    feature: Feature
    steps: Steps
    boundaries: tuple[float, ...]
    column: int


@dataclass(frozen=True, slots=True)
class Fallback:
    """Columns whose rows count where those of ``feature`` are all missing."""

    feature: Feature
    column: int


class Layout:
    """Columns of the readings of features.

    Args:
        features: Those of the spec, in order.

    Attributes:
        readings: Every place of every feature that has one, but for times.
        fallbacks: In the order in which they are tried.
        seen: C, how many columns are seen from outside.
        missing: The row that means "missing" in each of the E columns.
    """

    def __init__(self, features: Sequence[Feature]) -> None:
        self.readings: list[Reading] = []
        self.fallbacks: list[Fallback] = []
        self.missing = [feature.offset for feature in features for _ in range(feature.slots)]
        self.seen = len(self.missing)
        for feature in features:
            if feature.kind not in ("time", "cross"):
                self._place(feature)

    def of(self, kinds: Iterable[str]) -> list[Reading]:
        """The readings of some kinds of features."""
        return [reading for reading in self.readings if reading.feature.kind in kinds]

    def _place(self, feature: Feature) -> None:
        column = feature.column
        for place in feature.places:
            if column != feature.column:
                self.fallbacks.append(Fallback(feature, column))
                self.missing += [feature.offset] * feature.slots
            edges = tuple(edge - place.plus for edge in feature.boundaries)
            self.readings.append(Reading(feature, place.path.steps, edges, column))
            column = len(self.missing)
