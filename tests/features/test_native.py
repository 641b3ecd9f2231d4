"""The compiled reader against the one in Python: the same ids, no leaks, no crash."""

import contextlib
import copy
import gc
import math
import random
import sys
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import Extractor, FeatureSpec
from models.features.extractor import NATIVE
from models.features.values import RowMemo
from tests.features.arbitrary import JSON, SPECS, put, requests_for
from trainer.traffic.simulator import Simulator

pytestmark = pytest.mark.skipif(not NATIVE, reason="models.features._walk is not built")

SPECIAL = [
    *(True, False, None, 0, 1, -1, 0.0, -0.0, 1.0, 1e-320, 0.1, 1e22),
    *(math.inf, -math.inf, math.nan, sys.float_info.max, -sys.float_info.max),
    *(2**31, 2**53, 2**63, -(2**63), 2**64 - 1, 10**400, -(10**400), 8.64e15, -1.0),
    *(" 3 ", "1_000", "nan", "inf", "-inf", "1e400", "-0.0", "0x10", "1__0", "\u0663", "3\x00"),
    *("", " ", ",", ",,a,,b", "\ud800", "\udfff,x", "x" * 300, "Gr\u00f6\u00dfe \U0001f600"),
    *([], {}, [[]], [{}], [None], [1, [2]], {"a": 1}, [[[3]]]),
    *([{"id": 1}, 2, {"segment": [{"id": "x"}, 5, None]}, [7]],),
]


def compare(spec: FeatureSpec, requests: list[dict[str, Any]]) -> None:
    """Both readers give the same, and neither changes what it reads."""
    before = copy.deepcopy(requests)
    python_NC = Extractor(spec.features, native=False).extract(requests)
    native_NC = Extractor(spec.features, native=True).extract(requests)
    assert native_NC.dtype == python_NC.dtype
    assert native_NC.shape == python_NC.shape
    assert native_NC.flags.c_contiguous
    np.testing.assert_array_equal(native_NC, python_NC)
    assert repr(requests) == repr(before)


def paths(spec: FeatureSpec) -> Iterator[tuple[str | int, ...]]:
    """Every path of the spec and everything above one, with [*] as the first two elements."""
    found = [f.path.steps for f in spec.features if f.path]
    found += [f.utc_offset.steps for f in spec.features if f.utc_offset]
    for steps in found:
        for element in (0, 1):
            for depth in range(1, len(steps) + 1):
                yield tuple(element if step == -1 else step for step in steps[:depth])


def simulated(count: int) -> list[dict[str, Any]]:
    values = Simulator(seed=3, requests_per_day=20_000).batch(0, count).values
    return [orjson.loads(value) for value in values]


@pytest.mark.parametrize("name", ["openrtb", "jd"])
def test_equal_on_simulated_traffic(name: str) -> None:
    """Cut at random, with memos that overflow, simulated traffic gives the same ids."""
    requests = simulated(8192)
    rng = random.Random(name)
    for request in requests:
        request["user"].setdefault("ext", {})["jd"] = {
            "age": rng.choice(["young", "old", "", None]),
            "level": rng.randrange(9),
            "reg_days": rng.expovariate(0.01),
            "prior_sec": str(rng.randrange(10**6)),
        }
        request["imp"][0]["ext"] = {"jd": {"sku": rng.randrange(10**5), "cate": rng.random()}}
    python, native = (Extractor(SPECS[name].features, native=n) for n in (False, True))
    cuts = sorted(rng.sample(range(len(requests)), 40))
    whole_NC = python.extract(requests)
    pieces = [native.extract(requests[a:b]) for a, b in pairwise([0, *cuts, len(requests)])]
    np.testing.assert_array_equal(np.concatenate(pieces), whole_NC)


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_equal_on_arbitrary_json(name: str, data: st.DataObject) -> None:
    """Whatever lies at, above and below the paths, both give the same ids."""
    compare(SPECS[name], data.draw(st.lists(requests_for(SPECS[name]), max_size=6)))


@settings(max_examples=50, deadline=None)
@given(root=st.dictionaries(st.sampled_from(["imp", "user", "device", "ext", "at", "id"]), JSON))
def test_equal_on_any_object(root: dict[str, Any]) -> None:
    """Any JSON object is a request to both."""
    compare(SPECS["openrtb"], [root, {}, root])


@pytest.mark.parametrize("name", SPECS)
def test_equal_on_special_values_everywhere(name: str) -> None:
    """Every odd value at every level of every path, where it is a leaf and where it is not."""
    spec = SPECS[name]
    base = simulated(1)[0]
    for steps in dict.fromkeys(paths(spec)):
        compare(spec, [put(base, steps, value) for value in SPECIAL])


def test_numbers_beside_each_boundary_fall_alike() -> None:
    """On a boundary, and one float away on either side, both find the same bucket."""
    spec = SPECS["openrtb"]
    for feature in spec.features:
        if feature.kind == "numeric" and feature.path:
            values = [
                near
                for edge in feature.boundaries
                for near in (edge, math.nextafter(edge, -math.inf), math.nextafter(edge, math.inf))
            ]
            compare(spec, [put({}, feature.path.steps, value) for value in values])


def test_errors_are_the_same() -> None:
    """What the one cannot take raises the same error in the other, which then goes on."""
    spec = SPECS["every-kind"]
    unprintable = {"device": {"os": 10**5000}}
    for native in (False, True):
        extractor = Extractor(spec.features, native=native)
        for bad, error in ((unprintable, ValueError), ([], TypeError), (None, TypeError)):
            with pytest.raises(error):
                extractor.extract([{}, bad])  # type: ignore[list-item]
        assert extractor.extract([{}]).tolist() == [
            [f.offset for f in spec.features for _ in range(f.slots)]
        ]


class Hostile:
    """A key and a value that changes its surroundings when it is hashed or compared."""

    def __init__(self, request: dict[str, Any], error: type[Exception] | None) -> None:
        self.request, self.error = request, error

    def __hash__(self) -> int:
        self.request.clear()
        if self.error is not None:
            raise self.error("hostile")
        return hash("os")

    def __eq__(self, other: object) -> bool:
        self.request.clear()
        return False


@pytest.mark.parametrize("error", [None, TypeError, KeyError])
def test_callbacks_may_do_anything(error: type[Exception] | None) -> None:
    """A value that empties the request while it is read does no harm; its errors come out."""
    spec = SPECS["every-kind"]
    extractor = Extractor(spec.features, native=True)
    for _ in range(50):
        request: dict[str, Any] = {"imp": [{"bidfloor": 2.5}], "user": {"data": []}}
        hostile = Hostile(request, error)
        request |= {"device": {"os": hostile, "w": [hostile]}, "site": {"cat": [hostile] * 3}}
        if error is KeyError:
            with pytest.raises(KeyError):
                extractor.extract([request])
        else:
            assert extractor.extract([request]).shape == (1, spec.columns)
        inner: dict[Any, Any] = {"w": 3}
        if error is None:
            inner[Hostile(inner, None)] = 1
        assert extractor.extract([{"device": inner}]).shape == (1, spec.columns)


def extraction_bytes() -> int:
    """Traced memory that extraction holds, whatever other threads do."""
    gc.collect()
    own = tracemalloc.Filter(inclusive=True, filename_pattern="*/models/features/*")
    traces = tracemalloc.take_snapshot().filter_traces([own]).traces
    return sum(trace.size for trace in traces)


def test_no_reference_leaks() -> None:
    """Neither references nor memory grow over 200 batches, errors and odd values included."""
    spec = SPECS["openrtb"]
    extractor = Extractor(spec.features, native=True)
    requests = simulated(32)
    requests += [put(requests[0], s, v) for s in list(paths(spec))[::7] for v in SPECIAL[::5]]
    first = requests[0]
    shared = [first, *first.values(), *first["device"].values(), *SPECIAL]
    shared = [value for value in shared if isinstance(value, str | list | dict) and value]

    def batch() -> None:
        extractor.extract(requests)
        with contextlib.suppress(TypeError):
            extractor.extract([*requests[:3], 7])  # type: ignore[list-item]
        Extractor(SPECS["every-kind"].features, native=True)

    for _ in range(5):
        batch()
    memos = [found for found in gc.get_objects() if type(found) is RowMemo]
    shared += [row for memo in memos for row in memo.values() if row > 256]
    references = [sys.getrefcount(value) for value in shared]
    tracemalloc.start()
    try:
        for _ in range(20):
            batch()
        before = extraction_bytes()
        for _ in range(200):
            batch()
        after = extraction_bytes()
    finally:
        tracemalloc.stop()
    grown = np.subtract([sys.getrefcount(value) for value in shared], references)
    assert np.abs(grown).max() < 200  # a reference a batch would be 220
    assert after - before < 20_000


def test_an_extractor_is_python_where_asked() -> None:
    """The argument decides; the default is the compiled reader where it is built."""
    features = SPECS["jd"].features
    names = [
        type(extractor._reader).__name__
        for extractor in (Extractor(features), Extractor(features, native=False))
    ]
    assert names == ["NativeReader", "ColumnReader"]
