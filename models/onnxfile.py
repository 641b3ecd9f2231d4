"""What an ONNX file claims about itself, read from its bytes without the onnx package.

A worker must know before it hands a model to the runtime that the model is one file (no tensor
points at external data) and uses standard operators only. The protobuf wire format is simple
enough to walk: a message is a run of (tag, value), and only the few fields below matter.
Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

STANDARD_DOMAINS: Final = frozenset({"", "ai.onnx"})
_MAX_DEPTH: Final = 8
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class OnnxFileError(ValueError):
    """Bytes that are not an ONNX model, or one that needs more than standard operators."""


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """What matters of a model.

    Attributes:
        opset: Version of the standard operator set that it asks for.
    """

    opset: int


def inspect_onnx(model: bytes) -> OnnxFile:
    """Check that a model is self-contained and standard, and read its opset.

    Raises:
        OnnxFileError: If the bytes are no ONNX model, or it declares functions of its own, uses
            operators outside the standard domain or tensors stored outside the file.
    """
    opset = None
    has_graph = False
    for number, value in _fields(memoryview(model)):
        if number == 8:  # ModelProto.opset_import
            entry = dict(_fields(_message(value)))
            domain = _text(entry.get(1, b""))
            if domain in STANDARD_DOMAINS:
                opset = entry.get(2)
            else:
                raise OnnxFileError(f"the operator domain {domain!r} is not standard")
        elif number == 7:  # ModelProto.graph
            has_graph = True
            _check_graph(_message(value), 0)
        elif number == 25:  # ModelProto.functions
            raise OnnxFileError("model-local functions are not allowed")
    if not isinstance(opset, int) or not has_graph:
        raise OnnxFileError("not an ONNX model: no graph or no standard opset in it")
    return OnnxFile(opset=opset)


def _check_graph(graph: memoryview, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise OnnxFileError("subgraphs are nested too deeply")
    for number, value in _fields(graph):
        if number == 1:  # GraphProto.node
            _check_node(_message(value), depth)
        elif number == 5:  # GraphProto.initializer
            _check_tensor(_message(value))
        elif number == 15:  # GraphProto.sparse_initializer
            raise OnnxFileError("sparse initializers are not allowed")


def _check_node(node: memoryview, depth: int) -> None:
    for number, value in _fields(node):
        if number == 7 and (domain := _text(value)) not in STANDARD_DOMAINS:  # NodeProto.domain
            raise OnnxFileError(f"the operator domain {domain!r} is not standard")
        if number != 5:  # NodeProto.attribute
            continue
        for part, content in _fields(_message(value)):
            if part in (5, 10):  # AttributeProto.t, .tensors
                _check_tensor(_message(content))
            elif part in (6, 11):  # AttributeProto.g, .graphs
                _check_graph(_message(content), depth + 1)


def _check_tensor(tensor: memoryview) -> None:
    for number, value in _fields(tensor):
        if number == 13 or (number == 14 and value != 0):  # .external_data, .data_location
            raise OnnxFileError("a tensor is stored outside the file")


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise OnnxFileError("not an ONNX model: a number where a message belongs")
    return value


def _text(value: int | memoryview | bytes) -> str:
    if isinstance(value, int):
        raise OnnxFileError("not an ONNX model: a number where a name belongs")
    return bytes(value).decode("utf-8", "replace")


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Fields of one protobuf message as (number, value); a value is a number or its bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise OnnxFileError(f"not an ONNX model: unknown wire type {wire}")
        if at + size > len(data):
            raise OnnxFileError("not an ONNX model: it ends in the middle of a field")
        yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise OnnxFileError("not an ONNX model: it ends in the middle of a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise OnnxFileError("not an ONNX model: a number is too long")
