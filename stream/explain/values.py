"""What was extracted from a request: feature by feature, the text that was read and the id.

Ids come from the reference reader (:mod:`models.features.column_reader`), which gives the scanner's
bit for bit; which of a feature's places counted is found by reading each of them alone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson

from models.features.column_reader import ColumnReader
from models.features.columns import Columns
from models.features.feature import Feature, Ids
from models.features.kinds.cross import CrossFeature
from models.features.kinds.time import RECORD_TIME, TimeFeature
from models.features.path import EACH

MAX_TEXT: Final = 200
"""Characters of a value that are shown; the request itself has the rest."""
_MAX_ELEMENTS: Final = 16


@dataclass(frozen=True, slots=True)
class FeatureValue:
    """What one feature read.

    Attributes:
        name: Name of the feature.
        kind: Its kind in the spec.
        place: The path whose value counted; "" where it is missing.
        raw: The value there as JSON, cut to :data:`MAX_TEXT` characters; "" where it is missing.
        ids: Its ids: rows of the embedding table.
        bucket: What the ids mean: an interval, a calendar value, hash buckets, or "missing".
        missing: Whether nothing was read.
    """

    name: str
    kind: str
    place: str
    raw: str
    ids: tuple[int, ...]
    bucket: str
    missing: bool


def extracted(
    features: Sequence[Feature], request: dict[str, Any], time_ms: int, ids_C: Ids
) -> list[FeatureValue]:
    """What each feature read.

    Args:
        features: The features of a spec, in order.
        request: The decoded bid request.
        time_ms: Timestamp of its record, int64 ms.
        ids_C: Its ids, as they were scored.
    """
    columns = Columns([request])
    places = _places(features, request, time_ms)
    found: dict[str, FeatureValue] = {}
    for feature in features:
        ids = tuple(int(i) for i in ids_C[feature.column : feature.column + feature.slots])
        missing = all(i == feature.offset for i in ids)
        place, raw = "", ""
        if not missing and isinstance(feature, CrossFeature):
            raw = _cut(" x ".join(found[part.name].raw for part in feature.parts))
            place = " x ".join(part.name for part in feature.parts)
        elif not missing:
            place, raw = _read(feature, places, columns, time_ms)
        bucket = "missing" if missing else _bucket(feature, ids)
        found[feature.name] = FeatureValue(
            feature.name, feature.kind, place, raw, ids, bucket, missing
        )
    return list(found.values())


def _places(
    features: Sequence[Feature], request: dict[str, Any], time_ms: int
) -> Mapping[str, int]:
    """The index of the place that counted, by feature; none where the record's time counted."""
    alone, names = [], []
    column = 0
    for feature in features:
        for index, place in enumerate(feature.places):
            # A layout finds the columns of a place by the feature's name.
            name = f"{feature.name}\0{index}"
            changes: dict[str, Any] = {"name": name, "places": (place,), "column": column}
            if isinstance(feature, TimeFeature):
                changes["record_time"] = False
            alone.append(replace(feature, **changes))
            names.append((feature, index))
            column += feature.slots
    found: dict[str, int] = {}
    if not alone:
        return found
    ids_C = ColumnReader(alone).read([request], np.array([time_ms], np.int64))[0]
    for (feature, index), single in zip(names, alone, strict=True):
        read = ids_C[single.column : single.column + single.slots]
        if feature.name not in found and (read != feature.offset).any():
            found[feature.name] = index
    return found


def _read(
    feature: Feature, places: Mapping[str, int], columns: Columns, time_ms: int
) -> tuple[str, str]:
    """The place that counted, and the value there."""
    index = places.get(feature.name)
    if index is None:
        return RECORD_TIME, str(time_ms)
    place = feature.places[index]
    steps = place.path.steps
    if EACH in steps:
        values = columns.elements(steps)[0][:_MAX_ELEMENTS]
        return str(place), _cut(", ".join(map(_json, values)))
    return str(place), _cut(_json(next(iter(columns.values(steps)))))


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except (orjson.JSONEncodeError, RecursionError):
        return repr(value)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."


def _bucket(feature: Feature, ids: tuple[int, ...]) -> str:
    """What the ids mean to this kind of feature."""
    rows = [i - feature.offset for i in ids if i != feature.offset]
    boundaries: tuple[float, ...] | None = getattr(feature, "boundaries", None)
    if boundaries is not None:
        return ", ".join(_interval(boundaries, row) for row in rows)
    if isinstance(feature, TimeFeature):
        return f"{feature.part} {rows[0] - 1}"
    return f"hash {', '.join(map(str, rows))} of {feature.size - 1}"


def _interval(boundaries: tuple[float, ...], row: int) -> str:
    """Row k of buckets: k - 1 of the boundaries are at most the value."""
    low = f"{boundaries[row - 2]:g}" if row >= 2 else ""
    high = f"{boundaries[row - 1]:g}" if row - 1 < len(boundaries) else ""
    if low and high:
        return f"{low} <= x < {high}"
    return f"x >= {low}" if low else f"x < {high}"


def missing_ids(features: Sequence[Feature]) -> npt.NDArray[np.int32]:
    """The ids of a request of which no feature reads anything, shape (C,)."""
    return np.array([f.offset for f in features for _ in range(f.slots)], np.int32)


def players(
    features: Sequence[Feature], values: Sequence[FeatureValue]
) -> Iterator[tuple[FeatureValue, list[int]]]:
    """Features that read something of the request itself, each with its columns."""
    for feature, value in zip(features, values, strict=True):
        if not value.missing and not feature.derived:
            yield value, list(range(feature.column, feature.column + feature.slots))
