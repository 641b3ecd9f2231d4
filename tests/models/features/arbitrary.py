"""Specs, and arbitrary JSON at, above and below their paths."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from models.features import FeatureSpec
from models.features.path import INSIDE

EVERY_KIND = """
[[feature]]
name = "os"
kind = "categorical"
path = ["device.os", "device.sua.brand", "ext.os[1]"]
size = 50
zeros_missing = true
[[feature]]
name = "width"
kind = "numeric"
path = "device.w"
boundaries = [320, 640.5, 1080]
[[feature]]
name = "floor"
kind = "numeric"
path = [
  "imp[0].bidfloor",
  "imp[*].bidfloor",
  { path = "imp[*].pmp.deals[*].floor", plus = 2 },
  "ext.floors[0]",
]
log = { low = 0.1, high = 10, buckets = 2 }
[[feature]]
name = "cat"
kind = "tags"
path = ["site.cat[*]", "app.cat[*]", "site.data[*].id"]
size = 20
slots = 2
[[feature]]
name = "segment"
kind = "tags"
path = ["user.data[*].segment[*].id", "user.ids[*].all[*]"]
size = 30
slots = 3
[[feature]]
name = "format_w"
kind = "tags"
path = "imp[0].banner.format[*].w"
size = 10
slots = 2
[[feature]]
name = "word"
kind = "tags"
path = ["user.keywords", "user.kwarray"]
split = ","
size = 40
slots = 2
[[feature]]
name = "corner"
kind = "categorical"
path = "ext.grid[1][0]"
size = 9
[[feature]]
name = "cells"
kind = "tags"
path = "ext.grid[*][0]"
size = 9
slots = 2
[[feature]]
name = "deals"
kind = "count"
path = "imp[*].pmp.deals[*]"
boundaries = [2, 4]
[[feature]]
name = "currency"
kind = "categorical"
path = ["cur[0]", "imp[*].cur"]
size = 20
[[feature]]
name = "buyers"
kind = "count"
path = ["bcat[*]", "ext.grid[*][*]"]
boundaries = [2, 3]
[[feature]]
name = "native_w"
kind = "numeric"
path = ["imp[0].native.request{}.assets[*].img.w", "imp[0].native.request{}.w"]
boundaries = [300, 600]
[[feature]]
name = "native_type"
kind = "tags"
path = "imp[0].native.request{}.assets[*].types[*]"
size = 10
slots = 2
[[feature]]
name = "hour"
kind = "time"
path = ["ext.ts", "ext.times[0]", "$timestamp"]
utc_offset = ["device.geo.utcoffset", "user.geo.utcoffset"]
part = "hour-of-week"
[[feature]]
name = "day"
kind = "time"
path = "ext.ts"
part = "day-of-week"
[[feature]]
name = "os_width"
kind = "cross"
of = ["os", "width"]
size = 60
[[feature]]
name = "os_width_day"
kind = "cross"
of = ["os_width", "day"]
size = 70
"""

SPECS = {
    "every-kind": FeatureSpec.parse(EVERY_KIND, "every-kind"),
    "openrtb": FeatureSpec.load("openrtb"),
    "jd": FeatureSpec.load("jd"),
}

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.integers(-3, 2000)
    | st.sampled_from([1767268800, 1767268800000, 1767268800000000, 1767268800000000000])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | st.sampled_from(
        [
            "300",
            " 5 ",
            "1e3",
            "1_0",
            "nan",
            "inf",
            "-1e999",
            "a,b",
            "",
            "٣",
            "\ud800",
            "a\udfff",
        ]
    )
    | st.sampled_from(
        ["0", "0-0", "00000000-0000", "-", " 7 ,, 8", '{"w":300}', "{", "[1]", "IAB1"]
    )
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


TIMES = st.sampled_from(
    [-1, 0, 1_767_268_800, 1_767_268_800_000, 1_767_268_800_000_000, (1 << 63) - 1, -(1 << 63)]
) | st.integers(-(1 << 63), (1 << 63) - 1)
"""Timestamps of records, of any unit and none."""


def none(count: int) -> npt.NDArray[np.int64]:
    """As many records without a timestamp."""
    return np.full(count, -1, np.int64)


def steps_of(spec: FeatureSpec) -> Iterator[tuple[str | int, ...]]:
    """Every path of the spec."""
    for feature in spec.features:
        yield from (place.path.steps for place in feature.places)
        yield from (path.steps for path in getattr(feature, "utc_offset", ()))


def put(node: Any, steps: tuple[str | int, ...], value: Any) -> Any:
    """``node`` with ``value`` at a path, containers made on the way."""
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        kept = node if isinstance(node, dict) else {}
        return {**kept, step: put(kept.get(step), rest, value)}
    if step == INSIDE:
        said = json.loads(node) if isinstance(node, str) and node.startswith('{"') else None
        return json.dumps(put(said, rest, value))
    items = list(node) if isinstance(node, list) else []
    if step == -1:
        return [*items, put(None, rest, value)]
    items += [None] * (step + 1 - len(items))
    items[step] = put(items[step], rest, value)
    return items


@st.composite
def requests_for(draw: st.DrawFn, spec: FeatureSpec) -> dict[str, Any]:
    """A request with values at, and now and then above, paths of the spec."""
    paths = list(steps_of(spec))
    request: dict[str, Any] = {}
    for steps in draw(st.lists(st.sampled_from(paths), max_size=25)):
        depth = draw(st.integers(1, len(steps)) | st.just(len(steps)))
        value = draw(SCALARS if depth == len(steps) else JSON)
        changed = put(request, steps[:depth], value)
        assert isinstance(changed, dict)
        request = changed
    return request
