"""One ``[[feature]]`` table of a spec, read and checked key by key.

Every message has the form ``file: feature 'name': key: what is wrong; what would be right``.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NoReturn

from models.features.feature import Feature, Place, SpecError
from models.features.path import Path, PathError
from models.suggestions import did_you_mean

_MAX_PLACES: Final = 16
_MAX_PLUS: Final = 1_000_000


class TableReader:
    """The keys of one feature table, checked as they are read.

    Args:
        table: The table as TOML gives it.
        where: ``file: feature 'name'``, the beginning of every message.
        schema: Schema that paths are checked against, or None.
    """

    def __init__(self, table: Mapping[str, Any], where: str, schema: str | None) -> None:
        self._table = table
        self._where = where
        self._schema = schema

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def has(self, key: str) -> bool:
        """Whether the key is given."""
        return key in self._table

    def get(self, key: str, default: Any = None) -> Any:
        """The unchecked value of a key."""
        return self._table.get(key, default)

    def places(self, *, many: bool, plus: bool = False) -> tuple[Place, ...]:
        """The places that ``path`` lists, in order.

        Args:
            many: Whether a path may reach several values.
            plus: Whether a place may be ``{ path = ..., plus = ... }``.
        """
        places = []
        for given in self.listed("path"):
            text, added = given, 0.0
            if plus and isinstance(given, dict):
                if given.keys() != {"path", "plus"} or type(given["plus"]) is not int:
                    self.fail("path", f"must be {{ path = ..., plus = INTEGER }}, not {given!r}")
                text, added = given["path"], float(given["plus"])
                if abs(added) > _MAX_PLUS:
                    self.fail("path", f"'plus' must lie within {_MAX_PLUS} of 0, not {added:g}")
            places.append(Place(self.path("path", text, many=many), added))
        return tuple(places)

    def listed(self, key: str) -> list[Any]:
        """The value of a key that takes one path or a list of paths, as a list."""
        given = self._table.get(key)
        listed = given if isinstance(given, list) else [given]
        if not 1 <= len(listed) <= _MAX_PLACES:
            self.fail(key, f"must be a path, or a list of 1 to {_MAX_PLACES} in order")
        if len(set(map(repr, listed))) < len(listed):
            self.fail(key, "lists a path twice")
        return listed

    def path(self, key: str, text: Any, *, many: bool = False) -> Path:
        """A path, checked against the schema.

        Args:
            key: The key that it was given under.
            text: The path as it was given.
            many: Whether it may reach several values.
        """
        if not isinstance(text, str):
            self.fail(key, f"must be a path such as 'device.os', not {text!r}")
        try:
            path = Path.parse(text)
            if self._schema is not None:
                path.check_schema(self._schema)
        except PathError as error:
            self.fail(key, str(error))
        if path.stars and not many:
            self.fail(key, f"{text!r} reaches many values; write [0], or use kind 'tags'")
        return path

    def size(self) -> int:
        """The number of rows of a hashed feature."""
        return self.integer("size", 2, None)

    def integer(self, key: str, low: int, high: int | None) -> int:
        """An integer of at least ``low`` and at most ``high``."""
        value = self._table.get(key)
        if (
            not isinstance(value, int)
            or isinstance(value, bool)
            or value < low
            or (high is not None and value > high)
        ):
            wanted = f"from {low} to {high}" if high is not None else f"of at least {low}"
            self.fail(key, f"must be an integer {wanted}, not {value!r}")
        return value

    def fail(self, key: str, message: str) -> NoReturn:
        """Refuse the spec.

        Raises:
            SpecError: Always.
        """
        raise SpecError(f"{self._where}: {key}: {message}")


def read_feature(
    table: TableReader,
    kinds: Mapping[str, type[Feature]],
    before: Sequence[Feature],
    **position: Any,
) -> Feature:
    """The feature that a table describes.

    Args:
        table: Its table.
        kinds: The kinds of features by name.
        before: The features above it.
        **position: Its ``name``, ``column`` and ``offset``.

    Raises:
        SpecError: Naming the key that is wrong.
    """
    name = table.get("kind")
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        table.fail("kind", f"{name!r} is unknown; the kinds are {', '.join(kinds)}")
    for key in table:
        if key not in kind.keys | {"name", "kind"}:
            has = f"a {kind.kind} feature has {', '.join(sorted(kind.keys))}"
            table.fail(key, f"unknown key; {did_you_mean(key, kind.keys, has)}")
    return kind.parse(table, before, **position)


def is_number(value: object) -> bool:
    """Whether a value of a spec is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
