"""The extractor against a plain reference, against literal ids, and on whatever JSON there is."""

import bisect
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import Feature, FeatureSpec
from models.features.feature import Place
from models.features.path import Path as Way
from models.features.values import MEMO_ENTRIES, MEMO_TEXT, RowMemo
from tests.models.features.arbitrary import EVERY_KIND, SPECS, TIMES, none, requests_for

REQUESTS: list[dict[str, Any]] = [
    {
        "device": {"os": "Android", "w": 1080, "geo": {"utcoffset": 480}},
        "imp": [
            {
                "bidfloor": 0.5,
                "banner": {"format": [{"w": 300}, {"w": "300"}, {"w": 728}]},
                "pmp": {"deals": [{}, {}]},
            },
            {"pmp": {"deals": [{}]}},
        ],
        "site": {"cat": ["IAB1", "IAB2", "IAB3"]},
        "user": {
            "keywords": " shoes ,, boots,hats",
            "data": [{"segment": [{"id": 7}]}, {"segment": [{}, {"id": "a"}]}],
        },
        "ext": {"ts": 1_455_010_431_000, "grid": [["x"], [True]]},
    },
    {
        "device": {"os": "Größe ✓", "w": "641"},
        "imp": [{"bidfloor": 20}],
        "site": {"cat": "IAB1"},
        "ext": {"ts": 0},
    },
    {"device": {"os": 17.0, "w": None}, "imp": [], "user": {"keywords": ["a"]}, "ext": []},
]

GOLDEN = [
    [23, 54, 57, 64, 76, 106, 80, 84, 111, 111, 129, 132, 164,
     171, 177, 180, 182, 204, 206, 210, 210, 262, 391, 403, 461],
    [31, 53, 59, 64, 60, 80, 80, 80, 110, 110, 120, 120, 160,
     169, 169, 178, 182, 202, 206, 210, 210, 220, 389, 428, 457],
    [24, 50, 55, 60, 60, 80, 80, 80, 110, 110, 123, 120, 160,
     169, 169, 178, 182, 202, 206, 210, 210, 220, 389, 397, 457],
]  # fmt: skip

# --- The reference: one value at a time, nothing shared with the extractor ----------------------


def reach(node: Any, steps: tuple[str | int, ...]) -> list[Any]:
    """All values at a path below ``node``; None where there is none."""
    if not steps:
        return [node]
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        return reach(node.get(step) if isinstance(node, dict) else None, rest)
    if step == -2:
        return reach(json_object(node) if isinstance(node, str) else node, rest)
    items = reference_list(node)
    if step == -1:
        return [v for item in items for v in reach(item, rest)]
    return reach(items[step] if step < len(items) else None, rest)


def json_object(text: str) -> Any:
    """The object that a text contains; half a surrogate pair in it is U+FFFD."""
    try:
        found = json.loads(text, parse_constant=lambda _: 1 / 0)
        plain = json.dumps(found, ensure_ascii=False, allow_nan=False)
    except (ValueError, ZeroDivisionError):
        return None
    found = json.loads(re.sub("[\ud800-\udfff]", "\ufffd", plain))
    return found if isinstance(found, dict) else None


def reference_list(value: Any, separator: str = ",") -> list[Any]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(separator) if part.strip()]
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, int | float) else []


def reference_number(value: Any) -> float | None:
    if isinstance(value, str | int | float):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return None
        return number if math.isfinite(number) else None
    return None


def reference_hash(feature: Feature, value: Any) -> int:
    if isinstance(value, bool):
        value = int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return 0
        value = int(value) if value == math.floor(value) else value
    if value == "" or not isinstance(value, str | int | float):
        return 0
    if getattr(feature, "zeros_missing", False) and set(str(value)) <= set("0-"):
        return 0
    seed = xxhash.xxh3_64(feature.name.encode()).intdigest()
    return 1 + xxhash.xxh3_64(
        str(value).encode("utf-8", "surrogatepass"), seed=seed
    ).intdigest() % (feature.size - 1)


def reference_bucket(feature: Feature, value: float | None, plus: float = 0) -> int:
    edges = [edge - plus for edge in feature.boundaries]
    return 0 if value is None else 1 + bisect.bisect_right(edges, value)


def reference_instant(value: float | None) -> float | None:
    """Milliseconds, from whatever unit puts the time between 2000 and 2100."""
    for factor, divisor in ((1000.0, 1.0), (1.0, 1.0), (1.0, 1e3), (1.0, 1e6)):
        if value is not None and 946684800e3 <= value * factor / divisor < 4102444800e3:
            return value * factor / divisor
    return None


def first(values: Iterable[float | None]) -> float | None:
    return next((value for value in values if value is not None), None)


def number_at(request: dict[str, Any], way: Way) -> float | None:
    return first(map(reference_number, reach(request, way.steps)))


def reference_time(feature: Feature, request: dict[str, Any], record_ms: int) -> int:
    ms = first(reference_instant(number_at(request, place.path)) for place in feature.places)
    if ms is None and feature.record_time:
        ms = reference_instant(float(record_ms))
    shifts = [number_at(request, way) for way in feature.utc_offset]
    shift = first(minutes for minutes in shifts if minutes is not None and abs(minutes) <= 1440)
    if ms is None:
        return 0
    ms += (shift or 0.0) * 60_000.0
    hour = math.floor(ms / 3_600_000) % 24
    day = (math.floor(ms / 86_400_000) + 3) % 7
    return (
        1 + {"hour-of-day": hour, "day-of-week": day, "hour-of-week": 24 * day + hour}[feature.part]
    )


def reference_cross(feature: Feature, parts: list[int]) -> int:
    if 0 in parts:
        return 0
    mask = (1 << 64) - 1
    state = xxhash.xxh3_64(feature.name.encode()).intdigest()
    for part in parts:
        state = (state + part + 0x9E3779B97F4A7C15) & mask
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & mask
        state ^= state >> 31
    return 1 + state % (feature.size - 1)


def reference_place(feature: Feature, place: Place, request: dict[str, Any]) -> list[int]:
    """The rows that a feature finds at one of its places."""
    values = reach(request, place.path.steps)
    match feature.kind:
        case "categorical":
            rows = [reference_hash(feature, value) for value in values]
            return [next(filter(None, rows), 0)]
        case "numeric":
            value = first(map(reference_number, values))
            return [reference_bucket(feature, value, place.plus)]
        case "count":
            return [reference_bucket(feature, float(len(values)) or None)]
        case _:
            if feature.split:
                texts = values[0] if isinstance(values[0], list) else values
                scalars = [text for text in texts if not isinstance(text, list)]
                values = [tag for text in scalars for tag in reference_list(text, feature.split)]
            values = (values + [None] * feature.slots)[: feature.slots]
            return [reference_hash(feature, value) for value in values]


def reference(spec: FeatureSpec, request: dict[str, Any], record_ms: int = -1) -> list[int]:
    """The ids of one request, feature by feature."""
    local: dict[str, list[int]] = {}
    for feature in spec.features:
        match feature.kind:
            case "time":
                found = [reference_time(feature, request, record_ms)]
            case "cross":
                found = [reference_cross(feature, [local[part.name][0] for part in feature.parts])]
            case _:
                rows = [reference_place(feature, place, request) for place in feature.places]
                found = next(filter(any, rows), [0] * feature.slots)
        local[feature.name] = found
    return [row + feature.offset for feature in spec.features for row in local[feature.name]]


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_equals_the_reference(name: str, data: st.DataObject) -> None:
    """On arbitrary requests the batch extractor gives what the plain reference gives."""
    spec = SPECS[name]
    requests = data.draw(st.lists(requests_for(spec), min_size=1, max_size=6))
    times_N = np.array([data.draw(TIMES) for _ in requests], np.int64)
    ids_NC = spec.extractor().extract(requests, times_N)
    assert ids_NC.dtype == np.int32
    assert ids_NC.flags.c_contiguous
    assert ids_NC.tolist() == [
        reference(spec, request, record_ms)
        for request, record_ms in zip(requests, times_N.tolist(), strict=True)
    ]


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_cutting_does_not_matter(data: st.DataObject) -> None:
    """However a stream is cut into batches, one extractor gives the ids of the whole."""
    spec = SPECS["every-kind"]
    requests = data.draw(st.lists(requests_for(spec), max_size=12))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(requests)), max_size=4)))
    extractor = spec.extractor()
    edges = [0, *cuts, len(requests)]
    pieces = [extractor.extract(requests[a:b], none(b - a)) for a, b in pairwise(edges)]
    whole_NC = spec.extractor().extract(requests, none(len(requests)))
    assert whole_NC.shape == (len(requests), spec.columns)
    assert np.array_equal(np.concatenate(pieces), whole_NC)


@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_ids_stay_in_their_features_rows(data: st.DataObject) -> None:
    """Every id lies within the rows that its feature owns."""
    spec = SPECS["openrtb"]
    requests = data.draw(st.lists(requests_for(spec), max_size=6))
    ids_NC = spec.extractor().extract(requests, none(len(requests)))
    for feature in spec.features:
        own = ids_NC[:, feature.column : feature.column + feature.slots]
        assert ((own >= feature.offset) & (own < feature.offset + feature.size)).all()


def test_golden_ids() -> None:
    """A spec and three requests give exactly these ids."""
    extractor = SPECS["every-kind"].extractor()
    assert extractor.extract(REQUESTS, none(len(REQUESTS))).tolist() == GOLDEN


@pytest.mark.parametrize("seed", ["1", "4242"])
def test_golden_ids_under_any_hash_seed(seed: str) -> None:
    """Python's own string hashing has no part in the ids."""
    program = (
        "import sys, numpy, orjson; from models.features import FeatureSpec; "
        "text, requests = orjson.loads(sys.stdin.buffer.read()); "
        "times = numpy.full(len(requests), -1); "
        "ids = FeatureSpec.parse(text, 'x').extractor().extract(requests, times); "
        "sys.stdout.buffer.write(orjson.dumps(ids.tolist()))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        input=orjson.dumps([EVERY_KIND, REQUESTS]),
        capture_output=True,
        check=True,
        cwd=Path(__file__).resolve().parents[3],
        env={**os.environ, "PYTHONHASHSEED": seed},
    )
    assert orjson.loads(ran.stdout) == GOLDEN


def test_time_is_the_users_own() -> None:
    """Hour and weekday follow the calendar of the request's time zone."""
    spec = SPECS["openrtb"]
    place = {feature.name: feature for feature in spec.features}
    for ms in (946_684_800_000, 1_455_010_431_000, 1_700_000_000_000, 4_102_444_799_999):
        for minutes in (0, 480, -210):
            request = {"ext": {"ts": ms}, "device": {"geo": {"utcoffset": minutes}}}
            ids_C = spec.extractor().extract([request], none(1))[0]
            local = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms, minutes=minutes)
            hour, weekday = place["hour"], place["weekday"]
            assert ids_C[hour.column] - hour.offset == 1 + local.hour
            assert ids_C[weekday.column] - weekday.offset == 1 + local.weekday()


def test_one_bad_value_does_not_spoil_its_neighbours() -> None:
    """An unhashable or unreadable value is missing, and the rest of its batch is as ever."""
    spec = SPECS["every-kind"]
    good = REQUESTS[0]
    bad: dict[str, Any] = {"device": {"os": {"a": []}, "w": [300]}, "ext": {"ts": {}}}
    ids_NC = spec.extractor().extract([good, bad, good], none(3))
    missing = [f.offset for f in spec.features for _ in range(f.slots)]
    assert ids_NC[0].tolist() == ids_NC[2].tolist() == GOLDEN[0]
    assert ids_NC[1].tolist() == missing


def test_memo_is_bounded_and_right_after_forgetting() -> None:
    """Ids without end neither grow a memo nor change a row; long texts are not kept."""
    memo = RowMemo("user", 1000, 5)
    rows = [memo[f"u{number}"] for number in range(3 * MEMO_ENTRIES)]
    assert len(memo) <= MEMO_ENTRIES
    assert [memo.row_of(f"u{number}") for number in range(3 * MEMO_ENTRIES)] == rows
    assert len(set(rows)) == 999
    assert min(rows) == 6
    assert memo[None] == 5
    text = "x" * (MEMO_TEXT + 1)
    assert memo[text] == memo.row_of(text)
    assert text not in memo


def test_an_object_and_a_list_may_share_a_place() -> None:
    """A place that is now an object and now a list is read as both, whichever comes first."""
    for order in ((0, 1), (1, 0)):
        paths = ('"ext.a[*]"', '"ext.a.b"')
        text = "".join(
            f'[[feature]]\nname = "{n}"\nkind = "{("count", "numeric")[n]}"\n'
            f"path = {paths[n]}\nboundaries = [5]\n"
            for n in order
        )
        spec = FeatureSpec.parse(text, "both")
        requests: list[dict[str, Any]] = [{"ext": {"a": {"b": 7}}}, {"ext": {"a": [1, 2]}}]
        for some in (requests, requests[:1], requests[1:]):
            ids_NC = spec.extractor().extract(some, none(len(some)))
            assert ids_NC.tolist() == [reference(spec, request) for request in some]
