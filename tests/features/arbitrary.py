"""Specs, and arbitrary JSON at, above and below their paths."""

from typing import Any

from hypothesis import strategies as st

from models.features import FeatureSpec

EVERY_KIND = """
[[feature]]
name = "os"
kind = "categorical"
path = "device.os"
size = 50
[[feature]]
name = "width"
kind = "numeric"
path = "device.w"
boundaries = [320, 640.5, 1080]
[[feature]]
name = "floor"
kind = "numeric"
path = "imp[0].bidfloor"
log = { low = 0.1, high = 10, buckets = 2 }
[[feature]]
name = "cat"
kind = "tags"
path = "site.cat[*]"
size = 20
slots = 2
[[feature]]
name = "segment"
kind = "tags"
path = "user.data[*].segment[*].id"
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
path = "user.keywords"
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
name = "hour"
kind = "time"
path = "ext.ts"
utc_offset = "device.geo.utcoffset"
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
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6)
    | st.sampled_from(
        ["300", " 5 ", "1e3", "1_0", "nan", "inf", "-1e999", "a,b", "", "٣", "\ud800"]
    )
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


def put(node: Any, steps: tuple[str | int, ...], value: Any) -> Any:
    """``node`` with ``value`` at a path, containers made on the way."""
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        kept = node if isinstance(node, dict) else {}
        return {**kept, step: put(kept.get(step), rest, value)}
    items = list(node) if isinstance(node, list) else []
    if step == -1:
        return [*items, put(None, rest, value)]
    items += [None] * (step + 1 - len(items))
    items[step] = put(items[step], rest, value)
    return items


@st.composite
def requests_for(draw: st.DrawFn, spec: FeatureSpec) -> dict[str, Any]:
    """A request with values at, and now and then above, paths of the spec."""
    paths = [f.path.steps for f in spec.features if f.path]
    paths += [f.utc_offset.steps for f in spec.features if f.utc_offset]
    request: dict[str, Any] = {}
    for steps in draw(st.lists(st.sampled_from(paths), max_size=25)):
        depth = draw(st.integers(1, len(steps)) | st.just(len(steps)))
        value = draw(SCALARS if depth == len(steps) else JSON)
        changed = put(request, steps[:depth], value)
        assert isinstance(changed, dict)
        request = changed
    return request
