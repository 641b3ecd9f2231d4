"""Columns of features while they are read: one per place, of which the first filled one counts.

The places of a feature after its first one have columns of their own, behind the C visible ones.
What they contain is copied to the feature's own columns where all places before them were missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from models.features.feature import Feature, Place
from models.features.path import Steps


@dataclass(frozen=True, slots=True)
class Reading:
    """One place of a feature, and the columns that it is read into.

    Attributes:
        place: The place.
        steps: The steps of its path.
        column: The first of ``feature.slots`` columns.
    """

    place: Place
    steps: Steps
    column: int


@dataclass(frozen=True, slots=True)
class Fallback:
    """Columns that replace those of ``feature`` where these are all missing.

    Attributes:
        feature: The feature.
        column: The first of ``feature.slots`` columns.
    """

    feature: Feature
    column: int


class Layout:
    """Columns of the places of features.

    Args:
        features: The features of a spec, in order.

    Attributes:
        fallbacks: In the order in which they are applied.
        visible: C, the number of columns of the result; the others are only read into.
        missing: The id that means "missing" in each of the E columns.
    """

    def __init__(self, features: Sequence[Feature]) -> None:
        self._readings: dict[str, list[Reading]] = {}
        self.fallbacks: list[Fallback] = []
        self.missing = [feature.offset for feature in features for _ in range(feature.slots)]
        self.visible = len(self.missing)
        for feature in features:
            if feature.columns_per_place:
                self._readings[feature.name] = self._assign(feature)

    def readings(self, feature: Feature) -> Sequence[Reading]:
        """The places of a feature with their columns, in order of precedence."""
        return self._readings[feature.name]

    def _assign(self, feature: Feature) -> list[Reading]:
        readings: list[Reading] = []
        column = feature.column
        for place in feature.places:
            if readings:
                self.fallbacks.append(Fallback(feature, column))
                self.missing += [feature.offset] * feature.slots
            readings.append(Reading(place, place.path.steps, column))
            column = len(self.missing)
        return readings
