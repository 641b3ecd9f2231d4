"""OTLP in JSON: what OpenTelemetry's collectors read from files and over HTTP.

A line of a file is an ``ExportTraceServiceRequest``, as its file exporter writes them
(https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/); the same bytes are the body of a
request to ``/v1/traces``. 64-bit integers are strings, as in all JSON of protocol buffers.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import orjson

from models.bounds import MAX_TRACE_LINE_BYTES
from models.errors import UserError
from stream.trace.span import Attribute, Span

_INTERNAL: Final = 1  # SPAN_KIND_INTERNAL
_INT64: Final = 2**63


def encode(service: Mapping[str, Attribute], spans: Iterable[Span]) -> bytes:
    """A request with these spans, without a newline.

    Args:
        service: Attributes of the process, such as ``service.name``.
        spans: The spans.
    """
    scope = {"scope": {"name": "weir"}, "spans": [_span(span) for span in spans]}
    resource = {"attributes": _attributes(service)}
    return orjson.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]})


def _span(span: Span) -> dict[str, Any]:
    return {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "parentSpanId": span.parent_id,
        "name": span.name,
        "kind": _INTERNAL,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _attributes(span.attributes),
    }


def _attributes(attributes: Mapping[str, Attribute]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in attributes.items()]


def _value(value: Attribute) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


class _Value(msgspec.Struct):
    string: str | None = msgspec.field(name="stringValue", default=None)
    integer: str | int | None = msgspec.field(name="intValue", default=None)
    number: float | None = msgspec.field(name="doubleValue", default=None)
    boolean: bool | None = msgspec.field(name="boolValue", default=None)


class _Attribute(msgspec.Struct):
    key: str
    value: _Value


class _Span(msgspec.Struct, rename="camel"):
    trace_id: str
    span_id: str
    name: str
    start_time_unix_nano: str | int
    end_time_unix_nano: str | int
    parent_span_id: str = ""
    attributes: list[_Attribute] = []


class _Scope(msgspec.Struct):
    spans: list[_Span] = []


class _Resource(msgspec.Struct, rename="camel"):
    scope_spans: list[_Scope] = []


class _Request(msgspec.Struct, rename="camel"):
    resource_spans: list[_Resource] = []


def read(path: Path) -> Iterator[Span]:
    """The spans of a file, line by line.

    Raises:
        UserError: If the file cannot be read, or a line is no such request; names the line.
    """
    decoder = msgspec.json.Decoder(_Request)
    try:
        with path.open("rb") as lines:
            number = 0
            while line := lines.readline(MAX_TRACE_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_TRACE_LINE_BYTES:
                    raise UserError(f"{path}:{number}: longer than {MAX_TRACE_LINE_BYTES:,} bytes")
                if line.endswith(b"\n"):  # else the line that is being written
                    yield from _spans(decoder, line, f"{path}:{number}")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from error


def _spans(decoder: msgspec.json.Decoder[_Request], line: bytes, where: str) -> Iterator[Span]:
    try:
        request = decoder.decode(line)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                yield from map(_decoded, scope.spans)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise UserError(
            f"{where}: {error}; expected a line of OTLP in JSON, as `weir worker --trace FILE` "
            "writes it"
        ) from error


def _decoded(span: _Span) -> Span:
    return Span(
        span.trace_id,
        span.span_id,
        span.parent_span_id,
        span.name,
        _int64(span.start_time_unix_nano),
        _int64(span.end_time_unix_nano),
        {each.key: _decoded_value(each.value) for each in span.attributes},
    )


def _decoded_value(value: _Value) -> Attribute:
    if value.integer is not None:
        return _int64(value.integer)
    for other in (value.string, value.number, value.boolean):
        if other is not None:
            return other
    return ""


def _int64(written: str | int) -> int:
    number = int(written)
    if not -_INT64 <= number < _INT64:
        raise ValueError(f"{number}: not a 64-bit integer")
    return number
