"""What was read: the place that counted, the text there, and what the id means."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.features import FeatureSpec
from stream.explain.values import MAX_TEXT, FeatureValue, extracted, players

SPEC = FeatureSpec.parse(
    """
[[feature]]
name = "site"
kind = "categorical"
path = ["site.id", "app.id"]
size = 50

[[feature]]
name = "floor"
kind = "numeric"
path = "floor"
boundaries = [1, 2.5]

[[feature]]
name = "cats"
kind = "tags"
path = "cat[*]"
size = 20
slots = 2

[[feature]]
name = "imps"
kind = "count"
path = "imp[*]"
boundaries = [1, 2]

[[feature]]
name = "hour"
kind = "time"
path = ["ts", "$timestamp"]
part = "hour-of-day"

[[feature]]
name = "site_floor"
kind = "cross"
of = ["site", "floor"]
size = 30
""",
    "test",
)
NOON_MS = 1_767_268_800_000


def read(request: dict[str, object]) -> dict[str, FeatureValue]:
    ids_NC = SPEC.extractor().extract([request], np.array([NOON_MS], np.int64))
    found = extracted(SPEC.features, request, NOON_MS, ids_NC[0])
    return {value.name: value for value in found}


def test_every_kind_says_what_it_read() -> None:
    """Places in order of precedence, buckets as intervals, lists as their first elements."""
    found = read({"app": {"id": "a-1"}, "floor": "1.5", "cat": ["x", "y", "z"], "imp": [{}, {}]})
    assert (found["site"].place, found["site"].raw) == ("app.id", '"a-1"')
    assert found["site"].bucket.startswith("hash ")
    assert (found["floor"].raw, found["floor"].bucket) == ('"1.5"', "1 <= x < 2.5")
    assert found["cats"].raw == '"x", "y", "z"'
    assert len(found["cats"].ids) == 2
    assert found["imps"].bucket == "x >= 2"
    assert (found["hour"].place, found["hour"].bucket) == ("$timestamp", "hour-of-day 12")
    assert found["site_floor"].place == "site x floor"
    assert found["site_floor"].raw == '"a-1" x "1.5"'
    assert read({"floor": -1})["floor"].bucket == "x < 1"


def test_what_is_missing_is_no_player() -> None:
    """A feature that read nothing has no place, and neither it nor a cross takes part."""
    found = read({"site": {"id": ""}, "floor": {}, "ts": NOON_MS})
    assert (found["site"].missing, found["site"].place, found["site"].bucket) == (
        True, "", "missing",
    )  # fmt: skip
    assert found["site_floor"].missing
    assert found["hour"].place == "ts"
    playing = [value.name for value, _ in players(SPEC.features, list(found.values()))]
    assert playing == ["hour"]
    full = read({"site": {"id": "s"}, "floor": 3, "cat": ["x"]})
    playing = [value.name for value, _ in players(SPEC.features, list(full.values()))]
    assert playing == ["site", "floor", "cats", "hour"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["site", "app", "floor", "cat", "imp", "ts"]), json_values))
def test_any_request_can_be_shown(request: dict[str, object]) -> None:
    """Whatever a request contains, every feature has a bounded text, and ids of its own rows."""
    for value, feature in zip(read(request).values(), SPEC.features, strict=True):
        assert len(value.raw) <= MAX_TEXT
        assert value.missing == (not value.place)
        assert all(feature.offset <= i < feature.offset + feature.size for i in value.ids)
