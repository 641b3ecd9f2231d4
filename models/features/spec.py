"""The feature spec: a TOML file that lists the features of a model.

``specs/openrtb.toml`` shows every kind and explains the keys. The hash of a spec covers what the
ids depend on, and nothing else: two files that differ in comments or layout have the same hash.
"""

import hashlib
import tomllib
from dataclasses import fields
from pathlib import Path as FilePath
from typing import Any, Final, Self

import orjson

from models.features.extractor import Extractor
from models.features.feature import Feature, Place, SpecError
from models.features.kinds import KINDS
from models.features.path import SCHEMAS, Path
from models.features.spec_reader import TableReader, read_feature

MAX_ROWS: Final = 1 << 20
"""Rows of one embedding table: at width 8 in float32, 32 MiB."""

_SHIPPED: Final = FilePath(__file__).parent / "specs"
_IDS_VERSION: Final = 2
"""Part of the hash; must change when the extractor gives different ids for the same spec."""


class FeatureSpec:
    """The features of a model, in order.

    Attributes:
        text: The TOML text.
        source: Name of the file that it was read from, for messages.
        features: The features with their columns and rows.
        columns: C, the width of ``ids_NC``.
        rows: R, the number of rows of the shared embedding table.
        hash: 32 hex digits over everything that the ids depend on.
    """

    def __init__(self, features: tuple[Feature, ...], text: str, source: str) -> None:
        self.features = features
        self.text = text
        self.source = source
        self.columns = sum(feature.slots for feature in features)
        self.rows = sum(feature.size for feature in features)
        canonical = {
            "ids": _IDS_VERSION,
            "features": [_canonical(feature) for feature in features],
        }
        packed = orjson.dumps(canonical, option=orjson.OPT_SORT_KEYS)
        self.hash = hashlib.sha256(packed).hexdigest()[:32]

    @classmethod
    def load(cls, name_or_path: str | FilePath) -> Self:
        """Load a spec that ships (``openrtb``, ``jd``), or a TOML file.

        Raises:
            SpecError: If there is no such file, or it is not a spec.
        """
        path = FilePath(name_or_path)
        shipped = _SHIPPED / f"{name_or_path}.toml"
        if path.suffix != ".toml" and shipped.parent == _SHIPPED and shipped.is_file():
            path = shipped
        try:
            text = path.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            names = ", ".join(sorted(file.stem for file in _SHIPPED.glob("*.toml")))
            raise SpecError(
                f"{name_or_path}: cannot be read as a feature spec ({error}); give the path of a "
                f"TOML file, or one of {names}"
            ) from error
        return cls.parse(text, path.name)

    @classmethod
    def parse(cls, text: str, source: str) -> Self:
        """Parse the text of a spec; ``source`` names it in messages.

        Raises:
            SpecError: Naming source, feature, key, and the fix.
        """
        try:
            return cls._read(tomllib.loads(text), text, source)
        except SpecError:
            raise
        except tomllib.TOMLDecodeError as error:
            raise SpecError(f"{source}: not TOML: {error}") from error
        except (ArithmeticError, RecursionError, TypeError, ValueError) as error:
            # a table in place of a text, endless nesting, numbers of any size
            raise SpecError(f"{source}: no feature spec: {error}") from error

    @classmethod
    def _read(cls, doc: dict[str, Any], text: str, source: str) -> Self:
        for key in doc:
            if key not in ("schema", "feature"):
                raise SpecError(f"{source}: {key}: unknown key; a spec has schema and [[feature]]")
        schema = doc.get("schema")
        if schema is not None and schema not in SCHEMAS:
            raise SpecError(
                f"{source}: schema: {schema!r} is unknown; leave it out, or use "
                f"{', '.join(map(repr, SCHEMAS))}"
            )
        return cls(_features(doc.get("feature"), schema, source), text, source)

    def extractor(self) -> Extractor:
        """A new extractor of this spec; one per thread, because it caches values."""
        return Extractor(self.features)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FeatureSpec) and self.hash == other.hash

    def __hash__(self) -> int:
        return hash(self.hash)

    def __repr__(self) -> str:
        return f"FeatureSpec({self.source!r}, {len(self.features)} features, hash {self.hash})"


def _features(tables: Any, schema: str | None, source: str) -> tuple[Feature, ...]:
    if not isinstance(tables, list) or not tables or not all(isinstance(t, dict) for t in tables):
        raise SpecError(f"{source}: feature: at least one [[feature]] table is needed")
    features: list[Feature] = []
    names: set[str] = set()
    column = offset = 0
    for number, table in enumerate(tables, start=1):
        name = table.get("name")
        if not isinstance(name, str) or not name:
            raise SpecError(f"{source}: feature number {number}: name: a non-empty text is needed")
        if name in names:
            raise SpecError(
                f"{source}: feature {name!r}: name: given twice; each feature needs its own"
            )
        names.add(name)
        reader = TableReader(table, f"{source}: feature {name!r}", schema)
        feature = read_feature(reader, KINDS, features, name=name, column=column, offset=offset)
        features.append(feature)
        column += feature.slots
        offset += feature.size
        if offset > MAX_ROWS:
            raise SpecError(
                f"{source}: feature {name!r}: size: the features together own {offset} rows, more "
                f"than {MAX_ROWS}; make the largest smaller"
            )
    return tuple(features)


def _canonical(feature: Feature) -> dict[str, Any]:
    """Everything that a feature's ids depend on, as JSON; what is empty or zero is left out."""
    content = {"kind": feature.kind} | {
        each.name: _plain(getattr(feature, each.name))
        for each in fields(feature)
        if each.name not in ("column", "offset")
    }
    return {key: value for key, value in content.items() if value}


def _plain(value: Any) -> Any:
    match value:
        case tuple():
            return [_plain(each) for each in value]
        case Feature():
            return value.name
        case Path() | Place():
            return str(value)
        case _:
            return value
