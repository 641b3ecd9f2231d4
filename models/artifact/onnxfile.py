"""The ONNX files that may serve: those that the export can produce, and no others.

A model comes from a topic and a folder that others may write to, and a runtime executes it. So the
file is decoded strictly (:mod:`models.artifact.protobuf`) to the last byte, its operators,
attributes, types and names are checked against allow lists, and **only what was decoded is encoded
again for the runtime**, which never sees a byte that was not checked here. (Handing over the
original bytes would require that this reader and the runtime's agree on every unusual encoding.)

Allowed graphs have no loops, branches, functions or external files, and no shape that depends on
data, so that their time and memory depend only on the number of requests;
:mod:`models.artifact.trial` measures both. Field numbers:
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from models.artifact.protobuf import Field, Kind, Message, Schema, WireError, decode, encode
from models.bounds import MAX_STUDENT_BYTES

OPSET: Final = 17
IR_VERSION: Final = 8
INPUT: Final = "ids"
OUTPUTS: Final = ("scores", "uncertainties")
MAX_NODES: Final = 256
MAX_TENSORS: Final = 256
MAX_INPUTS: Final = 3
MAX_DIMENSIONS: Final = 4
MAX_DIMENSION_SIZE: Final = 1 << 24

FLOAT, INT32, INT64 = 1, 6, 7
ITEM_BYTES: Final = {FLOAT: 4, INT32: 4, INT64: 8}
_INT_ATTRIBUTE: Final = 2
_NAME = re.compile(r"[A-Za-z0-9_]+")


class OnnxFileError(ValueError):
    """A file that the export cannot have produced; the message names the field and the fault."""


@dataclass(frozen=True, slots=True)
class Operator:
    """How an operator of the standard domain may be used.

    Attributes:
        inputs: Number of its inputs.
        attributes: Allowed values of each attribute, all integers; none is required.
        constants: Inputs that determine a shape and therefore must be initializers.
    """

    inputs: int
    attributes: Mapping[str, Sequence[int]] | None = None
    constants: tuple[int, ...] = ()


#: Exactly the operators that :mod:`models.nets.export` writes (see its tests).
OPERATORS: Final[Mapping[str, Operator]] = {
    "Gather": Operator(2, {"axis": (0, 1)}),
    "Reshape": Operator(2, constants=(1,)),
    "Unsqueeze": Operator(2, constants=(1,)),
    "ReduceSum": Operator(2, {"keepdims": (0, 1)}, constants=(1,)),
    "Cast": Operator(1, {"to": (FLOAT,)}),
    "Gemm": Operator(3),
    "Not": Operator(1),
    **dict.fromkeys(("Relu", "Sigmoid", "Softplus", "Exp"), Operator(1)),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Max", "Min", "MatMul", "Equal"), Operator(2)),
}


def _message(name: str, schema: Schema, most: int | None = None) -> Field:
    return Field(name, Kind.MESSAGE, most, schema)


_ATTRIBUTE: Schema = {
    1: Field("name", Kind.TEXT),
    3: Field("i", Kind.NUMBER),
    20: Field("type", Kind.NUMBER),
}
_NODE: Schema = {
    1: Field("input", Kind.TEXT, MAX_INPUTS),
    2: Field("output", Kind.TEXT, 1),
    3: Field("name", Kind.TEXT),
    4: Field("op_type", Kind.TEXT),
    5: _message("attribute", _ATTRIBUTE, 1),
}
_TENSOR: Schema = {
    1: Field("dims", Kind.NUMBER, MAX_DIMENSIONS),
    2: Field("data_type", Kind.NUMBER),
    8: Field("name", Kind.TEXT),
    9: Field("raw_data", Kind.BYTES, bytes=MAX_STUDENT_BYTES),
}
_DIMENSION: Schema = {1: Field("dim_value", Kind.NUMBER), 2: Field("dim_param", Kind.TEXT)}
_SHAPE: Schema = {1: _message("dim", _DIMENSION, 2)}
_TENSOR_TYPE: Schema = {1: Field("elem_type", Kind.NUMBER), 2: _message("shape", _SHAPE)}
_VALUE: Schema = {
    1: Field("name", Kind.TEXT),
    2: _message("type", {1: _message("tensor_type", _TENSOR_TYPE)}),
}
_GRAPH: Schema = {
    1: _message("node", _NODE, MAX_NODES),
    2: Field("name", Kind.TEXT),
    5: _message("initializer", _TENSOR, MAX_TENSORS),
    11: _message("input", _VALUE, 1),
    12: _message("output", _VALUE, len(OUTPUTS)),
}
_OPSET: Schema = {1: Field("domain", Kind.TEXT), 2: Field("version", Kind.NUMBER)}
_MODEL: Schema = {
    1: Field("ir_version", Kind.NUMBER),
    2: Field("producer_name", Kind.TEXT),
    7: _message("graph", _GRAPH),
    8: _message("opset_import", _OPSET, 1),
}


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """A verified student.

    Attributes:
        opset: Version of the standard operator set that it requires.
        columns: C of its input ``ids``, int32 (N, C).
        tasks: T of its outputs ``scores`` and ``uncertainties``, float32 (N, T).
        content: The model for the runtime, encoded again from what was decoded.
    """

    opset: int
    columns: int
    tasks: int
    content: bytes


def read_student(file: bytes) -> OnnxFile:
    """Check the whole content of ``student.onnx``.

    Raises:
        OnnxFileError: If the export cannot have produced it.
    """
    try:
        model = decode(memoryview(file), _MODEL, "model")
    except WireError as error:
        raise OnnxFileError(str(error)) from error
    opset = _opset(model)
    _require(model.get("ir_version") == IR_VERSION, f"model.ir_version: {IR_VERSION} is needed")
    _require("graph" in model, "model.graph: missing")
    graph = model["graph"]
    for tensor in graph["initializer"]:
        _check_tensor(tensor)
    columns, tasks = _signature(graph)
    _check_names(graph)
    return OnnxFile(opset, columns, tasks, encode(model, _MODEL))


def _opset(model: Message) -> int:
    _require(model["opset_import"], "model.opset_import: missing")
    (entry,) = model["opset_import"]
    domain, opset = entry.get("domain", ""), entry.get("version")
    _require(domain == "", f"model.opset_import: the domain {domain!r} is not the standard one")
    _require(opset == OPSET, f"model.opset_import: opset {OPSET} is needed, {opset} found")
    return OPSET


def _check_tensor(tensor: Message) -> None:
    name, dims = tensor.get("name", ""), tensor["dims"]
    item = ITEM_BYTES.get(tensor.get("data_type", 0))
    if item is None:
        raise OnnxFileError(f"initializer {name!r}: its type is not float32, int32 or int64")
    for dim in dims:
        _require(
            1 <= dim <= MAX_DIMENSION_SIZE,
            f"initializer {name!r}: a dimension is not from 1 to {MAX_DIMENSION_SIZE}",
        )
    data = tensor.get("raw_data", b"")
    size, found = math.prod(dims) * item, len(data)
    _require(size == found, f"initializer {name!r}: {found} bytes of data, {size} are needed")
    if tensor["data_type"] == FLOAT:
        undefined = np.isnan(np.frombuffer(data, "<f4")).any()  # the last knot is infinite
        _require(not undefined, f"initializer {name!r}: a value is not a number")


def _signature(graph: Message) -> tuple[int, int]:
    """C and T, from the one input and the two outputs."""
    found = [_value(value, INT32) for value in graph["input"]]
    _require([name for name, _ in found] == [INPUT], f"graph.input: just {INPUT!r} is needed")
    outputs = [_value(value, FLOAT) for value in graph["output"]]
    _require(
        tuple(name for name, _ in outputs) == OUTPUTS,
        f"graph.output: {' and '.join(OUTPUTS)} are needed, in this order",
    )
    (_, tasks), (_, others) = outputs
    _require(
        tasks == others, f"graph.output: {OUTPUTS[0]} have {tasks} columns, the others {others}"
    )
    return found[0][1], tasks


def _value(value: Message, element: int) -> tuple[str, int]:
    name = value.get("name", "")
    kind = value.get("type", {}).get("tensor_type", {})
    dims = kind.get("shape", {}).get("dim", [])
    _require(kind.get("elem_type") == element, f"{name!r}: its element type is not {element}")
    _require(
        len(dims) == 2 and set(dims[0]) == {"dim_param"} and set(dims[1]) == {"dim_value"},
        f"{name!r}: its shape is not ('N', number of columns)",
    )
    columns: int = dims[1]["dim_value"]
    _require(1 <= columns <= MAX_DIMENSION_SIZE, f"{name!r}: {columns} columns")
    return name, columns


def _check_names(graph: Message) -> None:
    """Check that every name is defined once and before its use, so that the graph has no cycles."""
    constants = {tensor.get("name", "") for tensor in graph["initializer"]}
    _require(
        len(constants) == len(graph["initializer"]), "graph.initializer: a name is given twice"
    )
    known = {INPUT, *constants}
    _require(len(known) > len(constants), f"graph.initializer: {INPUT!r} is the input's name")
    for node in graph["node"]:
        _check_node(node, known, constants)
        known |= set(node["output"])
    for name in OUTPUTS:
        _require(name in known - constants, f"graph.output: no node makes {name!r}")
    for name in known:
        _require(bool(_NAME.fullmatch(name)), f"{name!r}: a name has letters, digits and _")


def _check_node(node: Message, known: set[str], constants: set[str]) -> None:
    kind, inputs = node.get("op_type", ""), node["input"]
    operator = OPERATORS.get(kind)
    if operator is None:
        raise OnnxFileError(f"node: the operator {kind!r} is not one of {', '.join(OPERATORS)}")
    _require(len(inputs) == operator.inputs, f"{kind}: {operator.inputs} inputs are needed")
    for number, name in enumerate(inputs):
        _require(name in known, f"{kind}: nothing before it makes its input {name!r}")
        _require(
            number not in operator.constants or name in constants,
            f"{kind}: its input {name!r} decides a shape and must be an initializer",
        )
    _require(len(node["output"]) == 1, f"{kind}: one output is needed")
    _require(node["output"][0] not in known, f"{kind}: its output {node['output'][0]!r} exists")
    for attribute in node["attribute"]:
        _check_attribute(attribute, kind, operator.attributes or {})


def _check_attribute(attribute: Message, kind: str, allowed: Mapping[str, Sequence[int]]) -> None:
    name, value = attribute.get("name", ""), attribute.get("i")
    _require(name in allowed, f"{kind}: the attribute {name!r} is not allowed")
    _require(attribute.get("type") == _INT_ATTRIBUTE, f"{kind}.{name}: not a whole number")
    _require(value in allowed[name], f"{kind}.{name}: {value} is not one of {allowed[name]}")


def _require(condition: Any, fault: str) -> None:
    if not condition:
        raise OnnxFileError(fault)
