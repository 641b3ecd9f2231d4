"""The decoder: arbitrary bytes, arbitrary JSON, each known fault, and real requests."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.features import Extractor, FeatureSpec
from models.features.bid_request import (
    MAX_DEPTH,
    REQUIRED_FIELDS,
    Reject,
    RejectCode,
    RequiredField,
    decode,
    decode_many,
)
from models.features.intake import ingest
from models.features.scanner import NATIVE

MAX = 1 << 20
DATA = Path(
    os.environ.get("WEIR_SHARED_DATA", Path(__file__).resolve().parents[3].parent / "shared/data")
)
GOOD = b'{"id":"1","imp":[{}]}'
compiled = pytest.mark.skipif(not NATIVE, reason="models.features._scan is not built")

FAULTS: list[tuple[bytes | None, RejectCode, str]] = [
    (None, RejectCode.TOMBSTONE, "no value"),
    (b"", RejectCode.EMPTY, "0 bytes"),
    (b"[" * (5 << 20), RejectCode.TOO_LARGE, "5242880 bytes, more than"),
    (b'{"id":"1\xff"}', RejectCode.INVALID_UTF8, "byte 8: 0xff"),
    ('{"ü":"'.encode() + b'\xed\xa0\x80"}', RejectCode.INVALID_UTF8, "byte 7: 0xed"),
    (b"not json", RejectCode.INVALID_JSON, "byte 0, before 'not json'"),
    ('{"ü":tru}'.encode(), RejectCode.INVALID_JSON, "byte 6, before 'tru}'"),
    (b'{"id":"1",', RejectCode.INVALID_JSON, "at the end"),
    (b"  ", RejectCode.INVALID_JSON, ""),
    (GOOD + b"x", RejectCode.INVALID_JSON, "byte 21, before 'x'"),
    (b'{"id":"\\ud800"}', RejectCode.INVALID_JSON, "byte 7"),
    (b'{"id":01}', RejectCode.INVALID_JSON, ""),
    (b'{"id":"1","x":1e400}', RejectCode.NUMBER_OUT_OF_RANGE, "byte 14: '1e400}'"),
    ('{"ü":"€","x":-1e400}'.encode(), RejectCode.NUMBER_OUT_OF_RANGE, "byte 16: '-1e400}'"),
    (b'{"x":' + b"9" * 400 + b"}", RejectCode.NUMBER_OUT_OF_RANGE, "byte 5: '9999"),
    (b'{"x":NaN}', RejectCode.NUMBER_OUT_OF_RANGE, "byte 5: 'NaN}'"),
    (b'{"x":Infinity}', RejectCode.NUMBER_OUT_OF_RANGE, "byte 5: 'Infinity}'"),
    (b'{"x":-Infinity}', RejectCode.NUMBER_OUT_OF_RANGE, "'Infinity}'"),
    (b"[" * 100_000, RejectCode.TOO_DEEP, f"byte {MAX_DEPTH + 1}"),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, RejectCode.TOO_DEEP, "1024 nested levels"),
    (b'{"x":["' + b"[" * 5000 + b'", tru]}', RejectCode.INVALID_JSON, "before 'tru]}'"),
    (b"[1]", RejectCode.NOT_AN_OBJECT, "not a list"),
    (b"null", RejectCode.NOT_AN_OBJECT, "not null"),
    (b'{"imp":[{}]}', RejectCode.MISSING_ID, "$.id: is missing"),
    (b'{"id":null,"imp":[{}]}', RejectCode.MISSING_ID, "$.id: is missing"),
    (b'{"id":"","imp":[{}]}', RejectCode.MISSING_ID, "$.id: is an empty text; every bid request"),
    (b'{"id":7,"imp":[{}]}', RejectCode.WRONG_TYPE, "$.id: a text is expected, not a number"),
    (b'{"id":"1"}', RejectCode.MISSING_IMP, "$.imp: is missing"),
    (b'{"id":"1","imp":[]}', RejectCode.MISSING_IMP, "$.imp: is an empty list"),
    (b'{"id":"1","imp":{}}', RejectCode.WRONG_TYPE, "$.imp: a list of objects"),
    (b'{"id":"1","imp":[{},true]}', RejectCode.WRONG_TYPE, "$.imp[1]: an object is expected"),
    (b'{"id":"\\ude00","imp":[{}],"x":"\\ud83d"}', RejectCode.INVALID_JSON, "byte 7"),
    (b'{"id":"1","x":"\\ud83d","y":tru}', RejectCode.INVALID_JSON, "byte 27, before 'tru}'"),
    (b'{"\\ud83d":1}', RejectCode.MISSING_ID, "$.id: is missing"),
]


@pytest.mark.parametrize(("value", "code", "told"), FAULTS, ids=[f"{f[1]}-{f[2]}" for f in FAULTS])
def test_each_fault_has_its_code_and_place(
    value: bytes | None, code: RejectCode, told: str
) -> None:
    """Every kind of bad input is rejected with its own code and a message that can be checked."""
    with pytest.raises(Reject) as caught:
        decode(value, MAX)
    assert caught.value.code == code
    assert told in caught.value.message
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "value",
    [
        GOOD,
        b'{"id":"1","imp":[{}],"site":null,"app":null,"device":null,"user":null}',
        b'{"id":"1","imp":[{"banner":"?"}],"device":{"w":"300","geo":[]},"ext":[1],"own":{}}',
        b'{"id":"1","imp":[{}],"x":' + b"[" * 500 + b"]" * 500 + b"}",
        b" " * 50 + GOOD + b"\n",
        b'{"id":"1","imp":[{}],"site":[],"app":"x","device":3,"user":[]}',
    ],
)
def test_liberal_where_exchanges_are(value: bytes) -> None:
    """Nulls, numbers as texts, unknown fields and any ext do not stop a request."""
    assert decode(value, MAX) == json.loads(value)


SAMPLES: list[Any] = [
    *(None, True, 0, 1.5, "", "x", {}, {"id": "x"}),
    *([], [{}], [{}, {"id": "x"}], ["x"], [{}, None], [{}, 1], [[]]),
]
"""A value or two of each JSON type; None also for a field that is absent."""


@pytest.mark.parametrize("native", [False, pytest.param(True, marks=compiled)])
@pytest.mark.parametrize("absent", [False, True])
@pytest.mark.parametrize("sample", SAMPLES, ids=json.dumps)
@pytest.mark.parametrize("field", REQUIRED_FIELDS, ids=lambda field: field.name)
def test_decoder_and_scanner_require_what_the_table_says(
    field: RequiredField, sample: Any, absent: bool, native: bool
) -> None:
    """A request is accepted exactly if each required field has its type and is not empty."""
    request = {**json.loads(GOOD), field.name: sample}
    if absent:
        sample = None
        del request[field.name]
    raw = orjson.dumps(request)
    fits = type(sample) is field.kind and bool(sample)
    if field.items is not None and fits:
        fits = all(type(item) is field.items for item in sample)
    found = ingest(Extractor((), native=native), [raw], np.array([-1]), MAX)
    if native:
        scanned = Extractor((), native=True).scan([raw], np.array([-1]), MAX).request_ids
        assert (scanned[0] is not None) == fits
    if fits:
        assert (found.request_ids, found.rejects) == ([request["id"]], [])
    else:
        ((_, reject),) = found.rejects
        empty = sample is None or sample == field.kind()
        assert reject.code == (field.missing if empty else RejectCode.WRONG_TYPE)
        assert reject.message.startswith(f"$.{field.name}")


def test_the_longest_value_is_read() -> None:
    """A value of exactly the limit is decoded, one byte more is too large."""
    assert decode(GOOD, len(GOOD)) == {"id": "1", "imp": [{}]}
    with pytest.raises(Reject) as caught:
        decode(GOOD, len(GOOD) - 1)
    assert caught.value.code == RejectCode.TOO_LARGE


@settings(max_examples=200)
@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:0123e+-NaInfitylrues\\u ', max_size=40))
@example(b'{"\xff')
@example("{NaN:1}")
@example('"' * 3)
def test_arbitrary_bytes_give_a_request_or_a_reject(value: bytes | str) -> None:
    """Only what Python's own parser refuses, or what is no bid request, is rejected."""
    raw = value.encode() if isinstance(value, str) else value
    verdict = verdict_of(raw)
    if isinstance(verdict, Reject):
        assert verdict.message
        assert not python_reads(raw) or expected_code(json.loads(raw)) == verdict.code
    else:
        assert verdict == whole(json.loads(raw))
        assert expected_code(verdict) is None


def verdict_of(raw: bytes) -> dict[str, Any] | Reject:
    """The request or the reject; anything else that is raised fails the test."""
    try:
        return decode(raw, MAX)
    except Reject as reject:
        return reject


def python_reads(raw: bytes) -> bool:
    """Whether Python's parser finds JSON of finite numbers and whole texts."""
    try:
        json.dumps(json.loads(raw.decode()), ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return False
    return True


def whole(value: Any) -> Any:
    """The same with U+FFFD for each half of a surrogate pair."""
    text = json.dumps(value, ensure_ascii=False).encode("utf-16", "surrogatepass")
    return json.loads(text.decode("utf-16", "replace"))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (rb"cut emoji \ud83d", "cut emoji \ufffd"),
        (rb"\ude00", "\ufffd"),
        (rb"\ud83d\ude00 \ud83d \uD83D\uDE00", "\U0001f600 \ufffd \U0001f600"),
        (rb"\ud83d\ud83d\ude00\n", "\ufffd\U0001f600\n"),
        (rb"\\ud83d \ud83d\u0041", "\\ud83d \ufffdA"),
    ],
)
def test_half_a_surrogate_pair_is_no_character(text: bytes, read: str) -> None:
    """Half an emoji in any text but the id reads as U+FFFD; pairs and backslashes stay whole."""
    request = decode(b'{"id":"1","imp":[{}],"%b":"%b"}' % (text, text), MAX)
    assert request == {"id": "1", "imp": [{}], read: read}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
NEARLY = st.fixed_dictionaries(
    {"id": st.text() | JSON, "imp": st.lists(st.just({}) | JSON, max_size=3) | JSON},
    optional={name: st.just({}) | JSON for name in ("site", "app", "device", "user", "ext")},
)


def expected_code(request: Any) -> RejectCode | None:
    """The code by which a parsed value must be rejected, derived without the decoder."""
    if not isinstance(request, dict):
        return RejectCode.NOT_AN_OBJECT
    identity, imps = request.get("id"), request.get("imp")
    if identity in (None, ""):
        return RejectCode.MISSING_ID
    if not isinstance(identity, str):
        return RejectCode.WRONG_TYPE
    if imps is None or imps == []:
        return RejectCode.MISSING_IMP
    if not isinstance(imps, list) or not all(isinstance(part, dict) for part in imps):
        return RejectCode.WRONG_TYPE
    return None


@settings(max_examples=200)
@given(JSON | NEARLY)
def test_arbitrary_json_is_judged_by_its_content(document: Any) -> None:
    """Any JSON is accepted unchanged, or rejected for the reason that its content gives."""
    raw = orjson.dumps(document)
    parsed = json.loads(raw)
    verdict = verdict_of(raw)
    if isinstance(verdict, Reject):
        assert verdict.code == expected_code(parsed)
    else:
        assert verdict == parsed
        assert expected_code(parsed) is None


def test_a_chunk_keeps_order_and_loses_nothing() -> None:
    """Good requests and rejects together are the chunk, each under its index."""
    values = [fault[0] for fault in FAULTS[:6]]
    chunk = [GOOD, *values, GOOD.replace(b"1", b"2"), b"[]", GOOD.replace(b"1", b"3")]
    decoded = decode_many(chunk, MAX)
    assert [request["id"] for request in decoded.requests] == ["1", "2", "3"]
    assert list(decoded.kept) == [0, 7, 9]
    assert [index for index, _ in decoded.rejects] == [1, 2, 3, 4, 5, 6, 8]
    codes = [reject.code for _, reject in decoded.rejects]
    assert codes == [fault[1] for fault in FAULTS[:6]] + [RejectCode.NOT_AN_OBJECT]
    assert list(decode_many([GOOD, GOOD], MAX).kept) == [0, 1]
    assert list(decode_many([], MAX).kept) == []


def real_requests() -> list[tuple[str, bytes]]:
    """Every real request body, by its name."""
    found = []
    with gzip.open(DATA / "openrtb_prebid/adapter_incoming.jsonl.gz") as lines:
        for line in lines:
            row = orjson.loads(line)
            found.append((row["path"], orjson.dumps(row["request"])))
    files = sorted((DATA / "openrtb_spec_bsm").glob("testdata_breq.*.json"))
    return found + [(file.name, file.read_bytes()) for file in files]


@pytest.mark.skipif(not DATA.is_dir(), reason="real requests absent: set WEIR_SHARED_DATA")
def test_real_requests_are_accepted_or_rejected_for_a_reason() -> None:
    """Real request bodies decode unchanged and give features, or deserve their reject."""
    rows = real_requests()
    assert len(rows) == 3439
    decoded = decode_many([raw for _, raw in rows], MAX)
    verdicts: dict[int, RejectCode | None] = dict.fromkeys(range(len(rows)))
    verdicts.update({index: reject.code for index, reject in decoded.rejects})
    for index, (name, raw) in enumerate(rows):
        assert verdicts[index] == expected_code(json.loads(raw)), name
    assert decoded.requests == [json.loads(rows[index][1]) for index in decoded.kept]
    assert len(decoded.requests) > 3300
    spec = FeatureSpec.load("openrtb")
    ids_NC = spec.extractor().extract(decoded.requests, np.full(len(decoded.requests), -1))
    filled = [f for f in spec.features if (ids_NC[:, f.column] > f.offset).any()]
    assert len(filled) > 50
