"""One ``[[feature]]`` table of a spec, checked key by key.

Every message reads ``file: feature 'name': key: what is wrong; what would be right``.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NoReturn, cast, get_args

from models.features.feature import PART_VALUES, Feature, Kind, Part, Place, SpecError
from models.features.path import EACH, Path, PathError

_KEYS: Final[dict[Kind, frozenset[str]]] = {
    "categorical": frozenset({"path", "size", "zeros_missing"}),
    "numeric": frozenset({"path", "boundaries", "linear", "log"}),
    "tags": frozenset({"path", "size", "slots", "split"}),
    "count": frozenset({"path", "boundaries", "linear", "log"}),
    "time": frozenset({"path", "part", "utc_offset"}),
    "cross": frozenset({"of", "size"}),
}
RECORD_TIME: Final = "$timestamp"
"""In a time feature's ``path``: the timestamp of the request's record."""
_MAX_PLACES: Final = 16
_MAX_PLUS: Final = 1_000_000
_MAX_SLOTS: Final = 64
_MAX_BUCKETS: Final = 10_000


class FeatureReader:
    """Reads one feature table into a :class:`Feature`.

    Args:
        table: The table as TOML gives it.
        where: ``file: feature 'name'``, the head of every message.
        schema: Schema that the paths are checked against, or None.
    """

    def __init__(self, table: Mapping[str, Any], where: str, schema: str | None) -> None:
        self._table = table
        self._where = where
        self._schema = schema

    def read(self, before: Sequence[Feature], column: int, offset: int) -> Feature:
        """The feature, placed at ``column`` and ``offset``, after the features ``before`` it.

        Raises:
            SpecError: Naming the key that is wrong.
        """
        kind = self._kind()
        for key in self._table:
            if key not in _KEYS[kind] | {"name", "kind"}:
                self._unknown(key, _KEYS[kind], f"a {kind} feature has")
        name = self._table["name"]
        match kind:
            case "categorical":
                return self._categorical(name, column, offset)
            case "tags":
                return self._tags(name, column, offset)
            case "numeric" | "count":
                places = self._places(stars=True, plus=kind == "numeric")
                if kind == "count":
                    self._check_counted(places)
                edges = self._boundaries()
                size = len(edges) + 2
                return Feature(name, kind, size, column, offset, places=places, boundaries=edges)
            case "time":
                return self._time(name, column, offset)
            case "cross":
                return self._cross(name, before, column, offset)

    def _kind(self) -> Kind:
        kind = self._table.get("kind")
        if kind not in get_args(Kind):
            self._fail("kind", f"{kind!r} is unknown; the kinds are {', '.join(get_args(Kind))}")
        return cast("Kind", kind)

    def _categorical(self, name: str, column: int, offset: int) -> Feature:
        zeros = self._table.get("zeros_missing", False)
        if not isinstance(zeros, bool):
            self._fail("zeros_missing", f"must be true or false, not {zeros!r}")
        places, size = self._places(stars=True), self._size()
        return Feature(
            name, "categorical", size, column, offset, places=places, zeros_missing=zeros
        )

    def _check_counted(self, places: Sequence[Place]) -> None:
        for place in places:
            if place.path.steps[-1] != EACH:
                self._fail("path", f"counts the elements of a list: write {place}[*]")

    def _tags(self, name: str, column: int, offset: int) -> Feature:
        split = self._table.get("split", "")
        if not isinstance(split, str) or ("split" in self._table and not split):
            self._fail("split", "must be a non-empty text, such as ','")
        places = self._places(stars=not split)
        for place in places:
            if not split and not place.path.stars:
                self._fail(
                    "path", f"reaches one value: write {place}[*] for a list, or give 'split'"
                )
        slots = self._integer("slots", 1, _MAX_SLOTS)
        return Feature(
            name, "tags", self._size(), column, offset, slots=slots, places=places, split=split
        )

    def _time(self, name: str, column: int, offset: int) -> Feature:
        part = self._table.get("part")
        if part not in PART_VALUES:
            self._fail("part", f"{part!r} is unknown; the parts are {', '.join(PART_VALUES)}")
        part = cast("Part", part)
        given = self._listed_at("path")
        record_time = given[-1] == RECORD_TIME
        paths = given[:-1] if record_time else given
        if RECORD_TIME in paths:
            self._fail("path", f"{RECORD_TIME!r} is there for every record: it must be the last")
        places = tuple(Place(self._path("path", text)) for text in paths)
        shifts = self._listed_at("utc_offset") if "utc_offset" in self._table else []
        return Feature(
            name,
            "time",
            PART_VALUES[part] + 1,
            column,
            offset,
            places=places,
            part=part,
            utc_offset=tuple(self._path("utc_offset", text) for text in shifts),
            record_time=record_time,
        )

    def _cross(self, name: str, before: Sequence[Feature], column: int, offset: int) -> Feature:
        parts = self._table.get("of")
        if not isinstance(parts, list) or len(parts) < 2 or len(set(map(repr, parts))) < len(parts):
            self._fail("of", "must list the names of two or more different features")
        known = {feature.name: feature for feature in before}
        for part in parts:
            if not isinstance(part, str) or part not in known:
                self._fail("of", f"{part!r} is not a feature above this one")
            if known[part].slots > 1:
                self._fail("of", f"{part!r} has several slots; a cross needs one id per part")
        return Feature(name, "cross", self._size(), column, offset, parts=tuple(parts))

    def _places(self, *, stars: bool, plus: bool = False) -> tuple[Place, ...]:
        """The places that ``path`` lists, in order."""
        places = []
        for given in self._listed_at("path"):
            text, added = given, 0.0
            if plus and isinstance(given, dict):
                if given.keys() != {"path", "plus"} or type(given["plus"]) is not int:
                    self._fail("path", f"must be {{ path = ..., plus = INTEGER }}, not {given!r}")
                text, added = given["path"], float(given["plus"])
                if abs(added) > _MAX_PLUS:
                    self._fail("path", f"'plus' must lie within {_MAX_PLUS} of 0, not {added:g}")
            places.append(Place(self._path("path", text, stars=stars), added))
        return tuple(places)

    def _listed_at(self, key: str) -> list[Any]:
        """What a key that takes one path or a list of paths gives."""
        given = self._table.get(key)
        listed = given if isinstance(given, list) else [given]
        if not 1 <= len(listed) <= _MAX_PLACES:
            self._fail(key, f"must be a path, or a list of 1 to {_MAX_PLACES} in order")
        if len(set(map(repr, listed))) < len(listed):
            self._fail(key, "lists a path twice")
        return listed

    def _path(self, key: str, text: Any, *, stars: bool = False) -> Path:
        if not isinstance(text, str):
            self._fail(key, f"must be a path such as 'device.os', not {text!r}")
        try:
            path = Path.parse(text)
            if self._schema is not None:
                path.check_schema(self._schema)
        except PathError as error:
            self._fail(key, str(error))
        if path.stars and not stars:
            self._fail(key, f"{text!r} reaches many values; write [0], or use kind 'tags'")
        return path

    def _size(self) -> int:
        return self._integer("size", 2, None)

    def _integer(self, key: str, low: int, high: int | None) -> int:
        value = self._table.get(key)
        if (
            not isinstance(value, int)
            or isinstance(value, bool)
            or value < low
            or (high is not None and value > high)
        ):
            wanted = f"from {low} to {high}" if high is not None else f"of at least {low}"
            self._fail(key, f"must be an integer {wanted}, not {value!r}")
        return value

    def _boundaries(self) -> tuple[float, ...]:
        given = [key for key in ("boundaries", "linear", "log") if key in self._table]
        if len(given) != 1:
            self._fail("boundaries", "give exactly one of 'boundaries', 'linear' and 'log'")
        key = given[0]
        edges = self._listed() if key == "boundaries" else self._ranged(key)
        if not all(low < high for low, high in pairwise(edges)) or not all(map(_is_number, edges)):
            self._fail(key, f"must increase from one to the next: {list(edges)}")
        return edges

    def _listed(self) -> tuple[float, ...]:
        values = self._table["boundaries"]
        if not isinstance(values, list) or not values or not all(map(_is_number, values)):
            self._fail("boundaries", "must be a list of one or more finite numbers")
        return tuple(map(float, values))

    def _ranged(self, key: str) -> tuple[float, ...]:
        """Ends and inner boundaries of equal steps, to 6 digits: the same on every platform."""
        scale = self._table[key]
        if not isinstance(scale, dict) or scale.keys() != {"low", "high", "buckets"}:
            self._fail(key, "must be { low = ..., high = ..., buckets = ... }")
        low, high, buckets = scale["low"], scale["high"], scale["buckets"]
        if not (_is_number(low) and _is_number(high) and low < high):
            self._fail(key, f"'low' must be a number below 'high', not {low!r} and {high!r}")
        if type(buckets) is not int or not 1 <= buckets <= _MAX_BUCKETS:
            self._fail(key, f"'buckets' must be an integer from 1 to {_MAX_BUCKETS}")
        shares = [step / buckets for step in range(buckets + 1)]
        if key == "linear":
            return tuple(float(f"{low + (high - low) * share:.6g}") for share in shares)
        if low <= 0:
            self._fail(key, f"'low' must be above 0 on a log scale, not {low!r}")
        return tuple(float(f"{low * (high / low) ** share:.6g}") for share in shares)

    def _unknown(self, key: str, keys: frozenset[str], has: str) -> NoReturn:
        near = difflib.get_close_matches(key, keys, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"{has} {', '.join(sorted(keys))}"
        self._fail(key, f"unknown key; {hint}")

    def _fail(self, key: str, message: str) -> NoReturn:
        raise SpecError(f"{self._where}: {key}: {message}")


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
