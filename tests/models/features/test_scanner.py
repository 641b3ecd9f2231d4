"""The compiled scanner against the reader in Python: the same ids from the bytes, no leaks."""

import gc
import json
import math
import random
import struct
import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import Extractor, FeatureSpec
from models.features.lenient_json import loads
from models.features.path import INSIDE
from models.features.scanner import NATIVE
from tests.models.features.arbitrary import JSON, SPECS, none, put, requests_for, steps_of
from trainer.simulation.simulator import Simulator

pytestmark = pytest.mark.skipif(not NATIVE, reason="models.features._scan is not built")

MAX = 1 << 20
REQUEST: dict[str, Any] = {"id": "1", "imp": [{}]}
IS_REQUEST = ("id", "imp", "site", "app", "device", "user")

TOKENS = [
    *("null", "true", "false", "0", "-0", "-0.0", "1", "-1", "1.0", "1e2", "1E+2", "100e-2"),
    *("300", "300.0", "3e2", "0.1", "0.10", "0.30000000000000004", "1e-7", "2.5e-5", "1e-400"),
    *("5e-324", "4503599627370497.5", "9007199254740993", "9007199254740993.0", "1e15", "1e16"),
    *("123456789012345.5", "1234567890123456.0", "1e22", "1e23", "1e299", "1.7976931348623157e308"),
    *("9223372036854775807", "-9223372036854775808", "-9223372036854775809"),
    *("18446744073709551615", "18446744073709551616", "1" + "0" * 299, "1." + "3" * 300),
    *("1455010431000", "8.64e15", "9007199254740992", "-1455010431000", "0.000" + "1" * 19),
    *('""', '" "', '"a"', '"Gr\u00f6\u00dfe \U0001f600"', '"a,b"', '" a ,\u3000b\u00a0,,c , d"'),
    *(r'"\u0061"', r'"\ud83d\ude00,\u0061"', r'"\"\\\/\b\f\n\r\t"', r'"3\u0030\u0030"', '"x\x7f"'),
    *('"300"', '" 300 "', '"3e2"', '"007"', '"+5"', '"5."', '".5"', '"1_0"', '"1__0"', '"0x10"'),
    *('"nan"', '"inf"', '"-inf"', '"1e400"', '"\u0663"', '"3\\u0000"', '"-0"', '"1e-400"'),
    *("[]", "{}", "[[]]", "[{}]", "[null]", "[1,[2]]", '{"a":1,"a":2}', "[[[3]]]", '{"":{"":0}}'),
    '[{"id":1},2,{"segment":[{"id":"x"},5,null]},[7]]',
    '{"w":1,"os":"x","id":2,"ts":3,"cat":[4,5,6],"segment":[{"id":7}]}',
]


def scan(
    spec: FeatureSpec, values: list[bytes]
) -> tuple[list[str | None], dict[int, list[int]], list[int]]:
    """Ids of requests, of features where it did not give up, and hashes."""
    times_N = stamps(len(values))
    found = Extractor(spec.features, native=True).scan(values, times_N, MAX)
    ids_NC = found.ids_NC.tolist()
    rows = {n: ids_NC[n] for n, given in enumerate(found.request_ids) if given is not None}
    return found.request_ids, rows, found.hashes_N.tolist()


def stamps(count: int) -> npt.NDArray[np.int64]:
    """Timestamps of records in every unit, and some that are none."""
    some = [-1, 1_767_268_800_123, 1_767_268_800, 1_767_268_800_123_456, (1 << 63) - 1, -(1 << 63)]
    return np.resize(np.array(some, np.int64), count)


def compare(spec: FeatureSpec, values: list[bytes]) -> int:
    """Whatever is scanned is what Python reads; returns how much was not scanned."""
    request_ids, rows, hashes = scan(spec, values)
    documents = [loads(values[n]) for n in rows]
    times_N = stamps(len(values))[list(rows)]
    ids_NC = Extractor(spec.features, native=False).extract(documents, times_N)
    for (n, ids_C), document, expected_C in zip(rows.items(), documents, ids_NC, strict=True):
        assert request_ids[n] == document["id"]
        assert hashes[n] == xxhash.xxh3_64_intdigest(document["id"].encode())
        assert ids_C == expected_C.tolist(), values[n]
    return len(values) - len(rows)


def paths(spec: FeatureSpec) -> Iterator[tuple[str | int, ...]]:
    """Every path of the spec and everything above one, with [*] as the first two elements."""
    for steps in dict.fromkeys(steps_of(spec)):
        for element in (0, 1) if -1 in steps else (0,):
            for depth in range(1, len(steps) + 1):
                yield tuple(element if step == -1 else step for step in steps[:depth])


def with_token(base: Any, steps: tuple[str | int, ...], token: str) -> bytes:
    """``base`` with JSON as it is written at a path, inside of a text where the path goes there."""
    if INSIDE in steps[:-1]:
        at = steps.index(INSIDE)
        inner = with_token(None, steps[at + 1 :], token).decode()
        return orjson.dumps(put(base, steps[:at], inner))
    return orjson.dumps(put(base, steps, "@@")).replace(b'"@@"', token.encode())


def written(document: Any) -> Iterable[bytes]:
    """The document as different writers would write it."""
    for ascii_only, indent, separators in (
        (False, None, (",", ":")),
        (True, None, (", ", ": ")),
        (False, 1, None),
        (False, None, (" ,\r\n", "\t: ")),
    ):
        text = json.dumps(document, ensure_ascii=ascii_only, indent=indent, separators=separators)
        yield text.encode("utf-8", "surrogatepass")


def simulated(count: int) -> list[bytes]:
    return list(Simulator(seed=3, requests_per_day=20_000).batch(0, count).values)


@pytest.mark.parametrize("name", ["openrtb", "jd"])
def test_all_simulated_traffic_is_scanned_alike(name: str) -> None:
    """Cut at random, simulated traffic gives the same ids, and none of it needs decoding."""
    rng = random.Random(name)
    values = []
    for value in simulated(4096):
        request = orjson.loads(value)
        request["user"].setdefault("ext", {})["jd"] = {
            "age": rng.choice(["young", "old", "", None]),
            "level": rng.randrange(9),
            "reg_days": rng.expovariate(0.01),
            "prior_sec": str(rng.randrange(10**6)),
        }
        request["imp"][0]["ext"] = {"jd": {"sku": rng.randrange(10**5), "cate": rng.random()}}
        values.append(orjson.dumps(request))
    times_N = stamps(len(values))
    requests = [orjson.loads(value) for value in values]
    whole_NC = SPECS[name].extractor().extract(requests, times_N)
    extractor = Extractor(SPECS[name].features, native=True)
    cuts = [0, *sorted(rng.sample(range(len(values)), 40)), len(values)]
    pieces = [extractor.scan(values[a:b], times_N[a:b], MAX) for a, b in pairwise(cuts)]
    assert all(given is not None for piece in pieces for given in piece.request_ids)
    np.testing.assert_array_equal(np.concatenate([p.ids_NC for p in pieces]), whole_NC)


@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_equal_on_arbitrary_json(name: str, data: st.DataObject) -> None:
    """Whatever lies at, above and below the paths, and however it is written."""
    request = {**REQUEST, **data.draw(requests_for(SPECS[name]))}
    compare(SPECS[name], [value for value in written(request) if decodes(value)])


@settings(max_examples=100, deadline=None)
@given(root=st.dictionaries(st.sampled_from([*IS_REQUEST, "ext", "at", "imp\u0000"]), JSON))
def test_equal_on_any_object(root: dict[str, Any]) -> None:
    """Any JSON object is read alike, or given up on."""
    values = [*written({**REQUEST, **root}), *written({**root, **REQUEST}), *written(root)]
    compare(SPECS["openrtb"], [value for value in values if decodes(value)])


def decodes(value: bytes) -> bool:
    try:
        loads(value)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", SPECS)
def test_equal_on_special_values_everywhere(name: str) -> None:
    """Every odd value at every level of every path, where it is a leaf and where it is not."""
    spec = SPECS[name]
    base = orjson.loads(simulated(1)[0])
    values = [
        with_token(base, steps, token) for steps in dict.fromkeys(paths(spec)) for token in TOKENS
    ]
    assert compare(spec, values) < len(values) / 4


def test_numbers_beside_each_boundary_fall_alike() -> None:
    """On a boundary, and one float away on either side, both find the same bucket."""
    spec = SPECS["openrtb"]
    values = []
    for feature in spec.features:
        for place in feature.places if feature.kind == "numeric" else ():
            for edge in (edge - place.plus for edge in feature.boundaries):
                for near in (edge, math.nextafter(edge, -math.inf), math.nextafter(edge, math.inf)):
                    values += [
                        orjson.dumps(put(REQUEST, place.path.steps, said))
                        for said in (near, repr(near))
                    ]
    assert compare(spec, values) == 0


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=8, max_size=8), st.integers(1, 17))
def test_any_double_is_read_and_written_as_python_does(raw: bytes, digits: int) -> None:
    """Whatever double is written, to any number of digits, both see the same number and text."""
    (number,) = struct.unpack("d", raw)
    if math.isfinite(number) and abs(number) < 1e299:
        spec = SPECS["every-kind"]
        texts = [repr(number), f"{number:.{digits - 1}e}", f"{math.fmod(number, 1e6):.{digits}f}"]
        for at in (b'"w":%b', b'"w":"%b"', b'"os":%b', b'"geo":{"utcoffset":%b}'):
            form = b'{"id":"1","imp":[{}],"ext":{"ts":1},"device":{' + at + b"}}"
            compare(spec, [form % text.encode() for text in texts])


def test_texts_of_every_length_hash_as_xxhash_does() -> None:
    """Each of XXH3's ways for short, middle and long texts gives the known digest."""
    rng = random.Random(5)
    sizes = [*range(1, 300), 512, 1023, 1024, 1025, 1088, 1089, 2048, 2049, 9000]
    texts = ["".join(rng.choices("abcdefgh\u00e9\u4e2d", k=size)) for size in sizes]
    values = [orjson.dumps({**REQUEST, "id": text, "device": {"os": text}}) for text in texts]
    assert compare(SPECS["every-kind"], values) == 0


UNUSUAL = [
    b'{"id":"1","id":"2","imp":[{}]}',
    b'{"\\u0069d":"2","id":"1","imp":[{}]}',
    b'{"id":"1","imp":[{}],"device":{"os":"a","w":1,"os":"b"}}',
    b'{"id":"1","imp":[{}],"device":{"w":1,"\\u006fs":"b"}}',
    b'{"id":"1","imp":[{}],"x":' + b"[" * 100 + b"]" * 100 + b"}",
    b'{"id":"1","imp":[{}],"device":{"os":18446744073709551616}}',
]


@pytest.mark.parametrize("value", UNUSUAL)
def test_the_unusual_is_given_up_on(value: bytes) -> None:
    """What could be read in two ways is left to the reference."""
    assert scan(SPECS["every-kind"], [value, orjson.dumps(REQUEST)])[0] == [None, "1"]


def test_names_beside_a_path_are_free() -> None:
    """A field that no feature reads may come twice, and escaped where no feature looks."""
    value = b'{"id":"1","imp":[{}],"x":1,"x":2,"y":{"\\u0061":0},"device":{"q":1,"os":"a","q":2}}'
    assert compare(SPECS["every-kind"], [value]) == 0


def test_values_that_are_no_bytes_or_too_long_are_given_up_on() -> None:
    """Only bytes within the limit are read; the longest is."""
    value = orjson.dumps(REQUEST)
    extractor = Extractor(SPECS["jd"].features, native=True)
    odd: list[Any] = [None, b"", value.decode(), bytearray(value), 7, value + b" ", value]
    assert extractor.scan(odd, none(7), len(value)).request_ids == [None] * 6 + ["1"]
    assert extractor.scan([], none(0), 9).ids_NC.shape == (0, SPECS["jd"].columns)


def test_a_scanner_without_features_still_finds_ids() -> None:
    """With no features at all, requests and their hashes are found."""
    found = Extractor((), native=True).scan([orjson.dumps(REQUEST), b"{}"], none(2), MAX)
    assert found.request_ids == ["1", None]
    assert found.ids_NC.shape == (2, 0)


def test_a_broken_plan_is_refused() -> None:
    """A plan that points outside its own arrays never gets to read."""
    from models.features import _scan  # noqa: PLC0415 - it may be absent

    nodes = struct.pack("14Q", *[0] * 7, 63, 0, 1, 0, 0, 0, 0)
    for kind in range(10):
        op = struct.pack("8Q", kind, 9, 0, 1, 1, 0, 9, 1)
        arrays = (nodes, op, b"", b"", b"", b"", bytes(8), b"", b"", b"", b"", b"", b"")
        if kind < 7:
            with pytest.raises(ValueError, match="op 0 is outside its arrays"):
                _scan.Plan(arrays, 2, 1, 0, 0)
        with pytest.raises(ValueError, match="outside its arrays"):
            _scan.Plan((nodes + nodes[:56], op[:0], *arrays[2:]), 2, 1, 0, 0)
    whole = (nodes[:64] + bytes(48), b"", b"", b"", b"", b"", bytes(8), *[b""] * 6)
    _scan.Plan(whole, 2, 1, 0, 0)
    for at, record in (
        (7, (0, 0, 0, 1, 0)),
        (7, (0, 1, 0, 0, 0)),
        (7, (0, 0, 0, 0, 3)),
        (7, (2, 0, 0, 0, 0)),
        (8, (1,)),
        (10, (0, 1, 2)),
        (10, (2, 0, 1)),
        (11, (0, 0, 0, 0, 0)),
    ):
        broken = (*whole[:at], struct.pack(f"{len(record)}Q", *record), *whole[at + 1 :])
        with pytest.raises(ValueError, match="a record is outside its arrays"):
            _scan.Plan(broken, 2, 1, 0, 0)
    for seen, times in ((3, 1), (2, 0)):
        with pytest.raises(ValueError, match="a record is outside its arrays"):
            _scan.Plan(whole, seen, times, 0, 0)
    with pytest.raises(ValueError, match="an array is missing"):
        _scan.Plan((), 0, 1, 0, 0)


def scan_bytes() -> int:
    """Traced memory that scanning holds, whatever other threads do."""
    gc.collect()
    own = tracemalloc.Filter(inclusive=True, filename_pattern="*/models/features/*")
    traces = tracemalloc.take_snapshot().filter_traces([own]).traces
    return sum(trace.size for trace in traces)


def test_nothing_leaks() -> None:
    """Memory does not grow over 200 batches and plans, odd values included."""
    spec = SPECS["openrtb"]
    extractor = Extractor(spec.features, native=True)
    values = simulated(32) + UNUSUAL
    base = orjson.loads(values[0])
    for steps in list(paths(spec))[::7]:
        for token in TOKENS[::5]:
            values.append(with_token(base, steps, token))

    def batch() -> None:
        extractor.scan(values, none(len(values)), MAX)
        Extractor(SPECS["every-kind"].features, native=True)

    tracemalloc.start()
    try:
        for _ in range(20):
            batch()
        before = scan_bytes()
        for _ in range(200):
            batch()
        after = scan_bytes()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000
