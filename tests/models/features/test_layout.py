"""Which columns the places of features are read into."""

from models.features import FeatureSpec
from models.features.layout import Layout
from models.features.path import Path

SPEC = FeatureSpec.parse(
    """\
[[feature]]
name = "site"
kind = "categorical"
path = ["site.id", "app.id", "dooh.id"]
size = 8

[[feature]]
name = "segments"
kind = "tags"
path = ["user.data[*].id", "user.kwarray[*]"]
size = 16
slots = 3

[[feature]]
name = "hour"
kind = "time"
part = "hour-of-day"
path = "$timestamp"

[[feature]]
name = "width"
kind = "numeric"
path = "imp[0].w"
boundaries = [100, 300]
""",
    "test",
)
SITE, SEGMENTS, HOUR, WIDTH = SPEC.features


def test_the_first_place_is_read_into_the_features_own_columns() -> None:
    """They are the visible ones, in the order of the spec."""
    layout = Layout(SPEC.features)
    assert layout.visible == SPEC.columns == 1 + 3 + 1 + 1
    firsts = {feature.name: layout.readings(feature)[0] for feature in (SITE, SEGMENTS, WIDTH)}
    assert {name: reading.column for name, reading in firsts.items()} == {
        "site": 0,
        "segments": 1,
        "width": 5,
    }
    assert firsts["width"].steps == Path.parse("imp[0].w").steps


def test_further_places_have_columns_of_their_own_behind_the_visible_ones() -> None:
    """As many as the feature has slots, without gaps and overlaps."""
    layout = Layout(SPEC.features)
    columns = [reading.column for reading in layout.readings(SITE)]
    assert columns == [0, 6, 7]
    assert [reading.column for reading in layout.readings(SEGMENTS)] == [1, 8]
    assert len(layout.missing) == 6 + 1 + 1 + 3
    taken = [
        column
        for feature in (SITE, SEGMENTS, WIDTH)
        for reading in layout.readings(feature)
        for column in range(reading.column, reading.column + feature.slots)
    ]
    assert sorted([*taken, HOUR.column]) == list(range(len(layout.missing)))


def test_fallbacks_are_in_order_of_precedence() -> None:
    """The second place of a feature before its third."""
    fallbacks = Layout(SPEC.features).fallbacks
    assert [(each.feature.name, each.column) for each in fallbacks] == [
        ("site", 6),
        ("site", 7),
        ("segments", 8),
    ]


def test_every_column_is_missing_until_it_is_read() -> None:
    """With the row of its own feature that means so."""
    layout = Layout(SPEC.features)
    visible = [SITE.offset, *[SEGMENTS.offset] * 3, HOUR.offset, WIDTH.offset]
    assert layout.missing == [*visible, SITE.offset, SITE.offset, *[SEGMENTS.offset] * 3]
