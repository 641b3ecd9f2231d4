"""Spans survive a file; a file that is none is refused with its line."""

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bounds import MAX_TRACE_LINE_BYTES
from models.errors import UserError
from stream.trace.otlp import encode, read
from stream.trace.span import Span

ATTRIBUTES = st.dictionaries(
    st.text(max_size=8),
    st.one_of(
        st.text(max_size=8),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    max_size=4,
)
SPANS = st.lists(
    st.builds(
        Span,
        st.just("0" * 31 + "1"),
        st.just("0" * 15 + "1"),
        st.sampled_from(["", "00000000000000ff"]),
        st.text(max_size=12),
        st.integers(0, 2**63 - 1),
        st.integers(0, 2**63 - 1),
        ATTRIBUTES,
    ),
    max_size=5,
)


@given(spans=SPANS)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, spans: list[Span]
) -> None:
    """Names, times and attributes of every kind, in their order."""
    path = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    path.write_bytes(encode({"service.name": "weir"}, spans) + b"\n" + encode({}, spans) + b"\n")
    assert list(read(path)) == spans * 2


def test_a_line_has_the_names_of_otlp() -> None:
    """As in the protocol's example of JSON: camel case, integers as strings, kinds of values."""
    span = Span("ab" * 16, "cd" * 8, "", "queue", 1, 2, {"n": 3, "s": "x", "f": 0.5, "b": True})
    [resource] = orjson.loads(encode({"service.name": "w"}, [span]))["resourceSpans"]
    assert resource["resource"]["attributes"] == [
        {"key": "service.name", "value": {"stringValue": "w"}}
    ]
    [scope] = resource["scopeSpans"]
    [written] = scope["spans"]
    assert written["startTimeUnixNano"] == "1"
    assert written["traceId"] == "ab" * 16
    assert [each["value"] for each in written["attributes"]] == [
        {"intValue": "3"},
        {"stringValue": "x"},
        {"doubleValue": 0.5},
        {"boolValue": True},
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b'{"resourceSpans": 3}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "x"}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "", "spanId": "", "name": "", '
        b'"startTimeUnixNano": "soon", "endTimeUnixNano": "1"}]}]}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "", "spanId": "", "name": "", '
        b'"startTimeUnixNano": 1, "endTimeUnixNano": 1, '
        b'"attributes": [{"key": "a", "value": {"intValue": "x"}}]}]}]}]}',
    ],
)
def test_another_file_is_refused_with_its_line(tmp_path: Path, line: bytes) -> None:
    """The error names file, line and what was expected."""
    path = tmp_path / "trace.jsonl"
    path.write_bytes(encode({}, []) + b"\n" + line + b"\n")
    with pytest.raises(UserError, match=r"trace\.jsonl:2: .*weir worker --trace"):
        list(read(path))


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    """The largest line is bounded."""
    path = tmp_path / "trace.jsonl"
    with path.open("wb") as file:
        file.truncate(MAX_TRACE_LINE_BYTES + 10)
    with pytest.raises(UserError, match=r"trace\.jsonl:1: longer than"):
        list(read(path))


def test_the_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    """A trace can be read while the worker runs."""
    path = tmp_path / "trace.jsonl"
    span = Span("1" * 32, "1" * 16, "", "queue", 1, 2, {})
    path.write_bytes(encode({}, [span]) + b"\n" + encode({}, [span])[:50])
    assert list(read(path)) == [span]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Without a traceback."""
    with pytest.raises(UserError, match=r"none\.jsonl: No such file"):
        list(read(tmp_path / "none.jsonl"))


def test_a_hostile_line_is_refused(tmp_path: Path) -> None:
    """Nested deeply, or with numbers that no trace has: an error with the line, no traceback."""
    path, span = tmp_path / "trace.jsonl", Span("a", "b", "", "queue", 1, 2**63, {})
    for line in (b'{"x":' + b"[" * 100_000, encode({}, [span])):
        path.write_bytes(line + b"\n")
        with pytest.raises(UserError, match=r"trace\.jsonl:1: .*OTLP"):
            list(read(path))
