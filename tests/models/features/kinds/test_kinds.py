"""The registry of feature kinds, and the guide to adding one: a kind in Python, step by step."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import orjson
import pytest

from models.features import Extractor, Feature, FeatureSpec, SpecError
from models.features.columns import Columns
from models.features.feature import Ids
from models.features.kinds import KINDS
from models.features.layout import Layout
from models.features.scanner import NATIVE, NativeScanner
from models.features.spec_reader import TableReader
from tests.models.features.arbitrary import SPECS

# --- The guide's example: a feature of the length of a text ------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthFeature(Feature):
    """length: the number of characters of a text, up to a maximum.

    Attributes:
        most: Longer texts count as this long.
    """

    kind: ClassVar[str] = "length"
    keys: ClassVar[frozenset[str]] = frozenset({"path", "most"})

    most: int

    @classmethod
    def parse(cls, table: TableReader, before: Sequence[Feature], **position: Any) -> Self:
        """Read the table: ``path`` and ``most``."""
        del before
        most = table.integer("most", 1, 1000)
        return cls(size=most + 2, places=table.places(many=False), most=most, **position)

    @classmethod
    def reader(cls, features: Sequence[Self], layout: Layout) -> "LengthReader":
        """A reader of all lengths."""
        return LengthReader(features, layout)


class LengthReader:
    """Reads lengths of texts."""

    def __init__(self, features: Sequence[LengthFeature], layout: Layout) -> None:
        self._readings = [(each, r) for each in features for r in layout.readings(each)]

    def fill(self, ids_EN: Ids, columns: Columns, times_N: npt.NDArray[np.int64]) -> None:
        """Write the features' columns; what is not a text is missing."""
        del times_N
        for feature, reading in self._readings:
            ids_EN[reading.column] = [
                feature.offset + (1 + min(len(v), feature.most) if type(v) is str else 0)
                for v in columns.values(reading.steps)
            ]


TOML = """
[[feature]]
name = "os"
kind = "categorical"
path = "device.os"
size = 8

[[feature]]
name = "page"
kind = "length"
path = ["site.page", "app.name"]
most = 10
"""
REQUESTS: list[dict[str, Any]] = [
    {"id": "1", "imp": [{}], "site": {"page": "abc"}, "app": {"name": "z"}},
    {"id": "2", "imp": [{}], "site": {"page": ""}},
    {"id": "3", "imp": [{}], "site": {"page": 7}, "app": {"name": "x" * 50}},
    {"id": "4", "imp": [{}]},
]


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> FeatureSpec:
    """A spec with the new kind, which one line adds to the registry."""
    monkeypatch.setitem(KINDS, LengthFeature.kind, LengthFeature)
    return FeatureSpec.parse(TOML, "guide.toml")


def test_a_new_kind_is_read_with_fallbacks_like_all_others(spec: FeatureSpec) -> None:
    """Its places are tried in order; an empty text has length 0, a number is missing."""
    page = spec.features[1]
    ids_NC = Extractor(spec.features, native=False).extract(REQUESTS, np.full(4, -1))
    assert (ids_NC[:, page.column] - page.offset).tolist() == [4, 1, 11, 0]
    assert page.size == 12


def test_a_new_kind_is_part_of_the_specs_hash(spec: FeatureSpec) -> None:
    """Whatever its ids depend on is, without the kind doing anything for it."""
    other = FeatureSpec.parse(TOML.replace("most = 10", "most = 11"), "guide.toml")
    same = FeatureSpec.parse(TOML + "# a comment", "guide.toml")
    assert other != spec
    assert same == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("most = 10", "most = 0"), "feature 'page': most: must be an integer from 1 to 1000"),
        (("most = 10", "mots = 10"), "feature 'page': mots: unknown key; did you mean 'most'?"),
        (("length", "lenght"), "kind: 'lenght' is unknown; the kinds are categorical, .*length"),
    ],
)
def test_mistakes_in_a_new_kind_are_reported(
    spec: FeatureSpec, change: tuple[str, str], message: str
) -> None:
    """The messages name file, feature, key and fix."""
    with pytest.raises(SpecError, match=message):
        FeatureSpec.parse(spec.text.replace(*change), "guide.toml")


@pytest.mark.skipif(not NATIVE, reason="models.features._scan is not built")
def test_a_kind_without_compiled_code_is_read_in_python(
    spec: FeatureSpec, caplog: pytest.LogCaptureFixture
) -> None:
    """The scanner declines every value of the spec, which a warning says once."""
    with caplog.at_level(logging.WARNING):
        extractor = Extractor(spec.features, native=True)
    assert "compiled scanner does not support" in caplog.text
    values = [orjson.dumps(request) for request in REQUESTS]
    assert extractor.scan(values, np.full(4, -1), 1000).request_ids == [None] * 4


# --- All kinds that are registered ---------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_in_the_spec_of_the_shared_checks(kind: str) -> None:
    """So the comparisons with the plain reference, and with the scanner, cover all kinds."""
    features = SPECS["every-kind"].features
    assert kind in {feature.kind for feature in features}
    assert all(type(feature) is KINDS[feature.kind] for feature in features)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.skipif(not NATIVE, reason="models.features._scan is not built")
def test_the_scanner_reads_all_kinds_of_weir(name: str) -> None:
    """No spec that ships falls back to Python."""
    assert NativeScanner.of(SPECS[name].features) is not None
