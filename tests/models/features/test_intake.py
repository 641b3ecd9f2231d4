"""Ingestion: the compiled scanner and the decoder give exactly the same."""

import random

import numpy as np
import orjson
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from models.features import Extractor
from models.features.intake import TILE, ingest
from models.features.scanner import NATIVE
from stream.messages import RejectCode
from tests.models.features.arbitrary import SPECS, none
from tests.models.features.test_bid_request import DATA, FAULTS, GOOD, real_requests
from tests.models.features.test_scanner import stamps
from trainer.simulation.simulator import Simulator

MAX = 1 << 20
compiled = pytest.mark.skipif(not NATIVE, reason="models.features._scan is not built")

ODD = [
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b" \t\r\n", b"\x00", b"\x1f", b"\x7f"),
    *(b"\x80", b"\xff", b"\xc0\xaf", b"\xc3\xa9", b"\xe2\x82", b"\xe0\x80\x80", b"\xed\xa0\x80"),
    *(b"\xf0\x9f\x98\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"/**/", b"'"),
    *(b'"7,8"', b'["a","b,c"]', b'"{\\"w\\":1}"', b"\\udfff", b"1767268800", b"1767268800000000"),
    *(b"\\u0041", b"\\ud83d\\ude00", b"\\ud800", b"\\udc00", b"\\u00", b"\\n", b"\\x", b'\\"'),
    *(b"null", b"true", b"fals", b"NaN", b"-Infinity", b"-", b"-0", b"00", b"1.", b".5", b"+1"),
    *(b"1e5", b"1E+", b"1e400", b"1e-400", b"0e999", b"1e308", b"9" * 30, b"0." + b"1" * 60),
    *(b'""', b'"300"', b'"nan"', b"{}", b"[]", b"[{}]", b'{"a":1,"a":2}', b"[" * 1100),
    *(b'"id":"z",', b'"\\u0069d":"z",', b'"id":7,', b'"imp":[{}],', b'"imp":[],', b'"imp":[1],'),
    *(b'"user":null,', b'"site":[],', b'"device":{"os":"z"},', b'"\\u0069mp":[{}],', b'"ext":[],'),
]
BASE = [
    *Simulator(seed=3, requests_per_day=20_000).batch(0, 30).values,
    orjson.dumps(
        {
            "id": "Größe",
            "imp": [{"bidfloor": "2.5", "banner": {"format": [{"w": 300}, {"w": "301"}]}}],
            "device": {"os": "Größe", "w": "641", "geo": {"utcoffset": 480}},
            "user": {"keywords": "a, b ,,c", "data": [{"segment": [{"id": 7}, {}]}]},
            "ext": {"ts": 1455010431000, "grid": [["x"], [True, 2.5]]},
        }
    ),
    orjson.dumps(
        {
            "id": "old",
            "imp": [{"native": {"request": '{"ver":"1.2","assets":[{"img":{"w":300}}]}'}}, {}],
            "site": {"cat": "IAB1, IAB2"},
            "cur": "USD",
            "user": {"keywords": ["a", "b,c"], "ext": {"consent": "x"}, "geo": {"country": "DEU"}},
            "regs": {"ext": {"gdpr": "1", "gpp_sid": "7,8"}},
            "bcat": ["a", "b"],
        }
    ),
]


def mutate(rng: random.Random, value: bytes) -> bytes:
    """One to four changes, most of them where JSON's structure is."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(value) + 1)
        places = [n + 1 for n, byte in enumerate(value) if byte in b"{[:,"]
        if places and rng.random() < 0.6:
            at = rng.choice(places)
        length = rng.choice((0, 0, 1, 3, 12))
        match rng.randrange(6):
            case 0:
                value = value[:at] + bytes([rng.randrange(256)]) + value[at + 1 :]
            case 1:
                value = value[: max(at, 1)]
            case 2:
                value = value[:at] + value[at + 1 + length :]
            case 3:
                ends = [n for n in range(at, len(value)) if value[n] in b",}]"]
                value = value[:at] + rng.choice(ODD) + value[ends[0] if ends else at :]
            case _:
                value = value[:at] + rng.choice(ODD) + value[at:]
    return value


def compare(native: Extractor, python: Extractor, values: list[bytes | None], limit: int) -> None:
    """Both ways give the same requests, ids, hashes, order and rejects, to the last word."""
    times_N = stamps(len(values))
    found, wanted = (ingest(way, values, times_N, limit) for way in (native, python))
    assert found.request_ids == wanted.request_ids
    assert list(found.kept) == list(wanted.kept)
    told = [(index, reject.code, reject.message) for index, reject in found.rejects]
    assert told == [(index, reject.code, reject.message) for index, reject in wanted.rejects]
    np.testing.assert_array_equal(found.hashes_N, wanted.hashes_N)
    np.testing.assert_array_equal(found.ids_NC, wanted.ids_NC)


@compiled
@pytest.mark.parametrize("name", SPECS)
@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_equal_on_mutated_requests(name: str, seed: int) -> None:
    """Flipped bytes, cuts, odd values, doubled and escaped names: nothing tells them apart."""
    rng = random.Random(seed)
    values: list[bytes | None] = [mutate(rng, rng.choice(BASE)) for _ in range(40)]
    features = SPECS[name].features
    compare(Extractor(features, native=True), Extractor(features, native=False), values, MAX)


@compiled
@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=40) | st.text('{}[]",:0123e+-NIialse\\u ', max_size=40)))
def test_equal_on_arbitrary_bytes(texts: list[bytes | str]) -> None:
    """Any bytes, JSON or not, alone or inside a request."""
    raw = [text.encode() if isinstance(text, str) else text for text in texts]
    inside = [b'{"id":"1","imp":[{}],"device":{"os":%b}}' % value for value in raw]
    features = SPECS["every-kind"].features
    native, python = (Extractor(features, native=way) for way in (True, False))
    compare(native, python, [*raw, *inside], MAX)


@compiled
def test_equal_on_every_known_fault() -> None:
    """Among good requests, each fault keeps its code and its message."""
    values = [value for fault in FAULTS for value in (fault[0], GOOD)]
    features = SPECS["openrtb"].features
    native, python = (Extractor(features, native=way) for way in (True, False))
    for limit in (MAX, len(GOOD), len(GOOD) - 1):
        compare(native, python, values, limit)


@compiled
@pytest.mark.skipif(not DATA.is_dir(), reason="real requests absent: set WEIR_SHARED_DATA")
def test_real_requests_need_no_decoding() -> None:
    """Every real request that is one is scanned, and gives what decoding it gives."""
    values: list[bytes | None] = [raw for _, raw in real_requests()]
    features = SPECS["openrtb"].features
    native, python = (Extractor(features, native=way) for way in (True, False))
    compare(native, python, values, MAX)
    scanned = sum(
        found is not None for found in native.scan(values, none(len(values)), MAX).request_ids
    )
    assert scanned == len(ingest(python, values, none(len(values)), MAX).kept)


@pytest.mark.parametrize("native", [False, pytest.param(True, marks=compiled)])
def test_a_chunk_keeps_order_and_loses_nothing(native: bool) -> None:
    """Requests and rejects together are the chunk, across tiles, each under its index."""
    extractor = Extractor(SPECS["openrtb"].features, native=native)
    values: list[bytes | None] = [
        None if n % 7 == 0 else b"[" if n % 5 == 0 else orjson.dumps({"id": f"r{n}", "imp": [{}]})
        for n in range(3 * TILE)
    ]
    found = ingest(extractor, values, none(len(values)), MAX)
    assert found.request_ids == [f"r{n}" for n in found.kept]
    assert sorted([*found.kept, *(index for index, _ in found.rejects)]) == list(range(3 * TILE))
    assert [index for index, _ in found.rejects] == sorted(index for index, _ in found.rejects)
    assert {reject.code for _, reject in found.rejects} == {
        RejectCode.TOMBSTONE,
        RejectCode.INVALID_JSON,
    }
    assert found.ids_NC.shape == (len(found.kept), SPECS["openrtb"].columns)
    digests = [xxhash.xxh3_64_intdigest(request_id.encode()) for request_id in found.request_ids]
    assert found.hashes_N.tolist() == digests


@pytest.mark.parametrize("native", [False, pytest.param(True, marks=compiled)])
@pytest.mark.parametrize("values", [[], [None], [b"[]", b""]])
def test_a_chunk_without_requests(native: bool, values: list[bytes | None]) -> None:
    """A chunk may hold no request at all."""
    spec = SPECS["openrtb"]
    found = ingest(Extractor(spec.features, native=native), values, none(len(values)), MAX)
    assert (found.request_ids, list(found.kept), len(found.rejects)) == ([], [], len(values))
    assert found.ids_NC.shape == (0, spec.columns)
    assert found.hashes_N.shape == (0,)
