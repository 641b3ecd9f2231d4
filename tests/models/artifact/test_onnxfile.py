"""Which ONNX files may serve."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.artifact.onnxfile import MAX_NODES, MAX_TENSORS, OnnxFileError, read_student
from tests.tiny_artifact import tiny_student

Change = Callable[[onnx.ModelProto], Any]


def node(model: onnx.ModelProto, operator: str, *inputs: str, **attributes: Any) -> None:
    """Put a node before all others; what it makes is called "extra"."""
    made = helper.make_node(operator, list(inputs), ["extra"], **attributes)
    model.graph.node.insert(0, made)


def constant(model: onnx.ModelProto, value: np.ndarray, name: str = "constant") -> None:
    model.graph.initializer.append(numpy_helper.from_array(value, name))


def sparse(model: onnx.ModelProto) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32), "sparse")
    indices = numpy_helper.from_array(np.zeros(1, np.int64))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [3]))


def subgraph(model: onnx.ModelProto) -> None:
    inner = helper.make_graph([], "inner", [], [])
    node(model, "Loop", "ids", body=inner)


def external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(tensor, "/etc/hostname")
    tensor.data_location = TensorProto.EXTERNAL


def function(model: onnx.ModelProto) -> None:
    inner = helper.make_node("Relu", ["x"], ["y"])
    opset = helper.make_opsetid("", 17)
    model.functions.append(helper.make_function("", "Cast", ["x"], ["y"], [inner], [opset]))


def computed_shape(model: onnx.ModelProto) -> None:
    constant(model, np.ones((24, 2), np.int64), "shapes")
    node(model, "Gather", "shapes", "ids")
    made = helper.make_node("Reshape", ["weights", "extra"], ["reshaped"])
    model.graph.node.insert(1, made)


def many_nodes(model: onnx.ModelProto) -> None:
    for number in range(MAX_NODES):
        made = helper.make_node("Relu", ["scores"], [f"n{number}"])
        model.graph.node.append(made)


CHANGES: dict[str, tuple[Change, str]] = {
    "custom domain": (lambda m: setattr(m.graph.node[0], "domain", "com.example"), "node"),
    "custom opset": (lambda m: m.opset_import.append(helper.make_opsetid("x", 1)), "opset_import"),
    "other opset": (lambda m: setattr(m.opset_import[0], "version", 18), "opset 17 is needed"),
    "other domain": (lambda m: setattr(m.opset_import[0], "domain", "ai.onnx.ml"), "'ai.onnx.ml'"),
    "no opset": (lambda m: m.ClearField("opset_import"), "opset_import: missing"),
    "other format": (lambda m: setattr(m, "ir_version", 9), "ir_version"),
    "no graph": (lambda m: m.ClearField("graph"), "model.graph: missing"),
    "metadata": (lambda m: m.metadata_props.add(key="a", value="b"), "model"),
    "training": (lambda m: m.training_info.add(), "model"),
    "function": (function, "model"),
    "doc": (lambda m: setattr(m.graph, "doc_string", "x"), "model.graph"),
    "value info": (lambda m: m.graph.value_info.add(name="x"), "model.graph"),
    "sparse tensor": (sparse, "model.graph"),
    "external tensor": (external, "model.graph.initializer"),
    "segment": (lambda m: m.graph.initializer[0].segment.SetInParent(), "initializer"),
    "floats": (lambda m: m.graph.initializer[0].float_data.append(1.0), "initializer"),
    "strings": (lambda m: m.graph.initializer[0].string_data.append(b"x"), "initializer"),
    "a text tensor": (lambda m: setattr(m.graph.initializer[0], "data_type", 8), "its type"),
    "too little data": (lambda m: m.graph.initializer[0].dims.append(2), "bytes of data"),
    "no such size": (lambda m: m.graph.initializer[0].dims.append(0), "a dimension"),
    "huge": (lambda m: m.graph.initializer[0].dims.append(2**60), "a dimension"),
    "overflowing": (lambda m: m.graph.initializer[0].dims.extend([2**24] * 2), "bytes of data"),
    "not a number": (lambda m: constant(m, np.array([np.nan], np.float32)), "is not a number"),
    "doubled constant": (lambda m: constant(m, np.ones(1, np.float32), "tenth"), "given twice"),
    "the input's name": (lambda m: constant(m, np.ones(1, np.float32), "ids"), "input's name"),
    "odd name": (lambda m: constant(m, np.ones(1, np.float32), "../x"), "letters"),
    "many constants": (
        lambda m: [constant(m, np.ones(1, np.float32), f"c{n}") for n in range(MAX_TENSORS)],
        "initializer: more than",
    ),
    "many nodes": (many_nodes, "node: more than"),
    "loop": (subgraph, "attribute: field number 6"),
    "random numbers": (lambda m: node(m, "RandomUniformLike", "ids"), "the operator"),
    "text operator": (lambda m: node(m, "StringNormalizer", "ids"), "the operator"),
    "constant": (lambda m: node(m, "ConstantOfShape", "ids"), "the operator"),
    "fewer inputs": (lambda m: node(m, "Add", "ids"), "2 inputs are needed"),
    "unknown input": (lambda m: node(m, "Add", "ids", "later"), "nothing before it makes"),
    "absent input": (lambda m: node(m, "Add", "ids", ""), "nothing before it makes"),
    "own output": (lambda m: node(m, "Add", "ids", "extra"), "nothing before it makes"),
    "two outputs": (lambda m: m.graph.node[0].output.append("more"), "output: more than 1"),
    "no output": (lambda m: m.graph.node[0].ClearField("output"), "one output is needed"),
    "output made twice": (lambda m: m.graph.node.append(m.graph.node[0]), "exists"),
    "foreign attribute": (lambda m: node(m, "Relu", "ids", alpha=1), "'alpha' is not allowed"),
    "a float attribute": (lambda m: node(m, "Cast", "ids", to=1.0), "field number 2"),
    "other type": (lambda m: node(m, "Cast", "ids", to=8), "Cast.to: 8"),
    "other axis": (lambda m: node(m, "Gather", "weights", "ids", axis=2), "Gather.axis: 2"),
    "computed shape": (computed_shape, "must be an initializer"),
    "no input": (lambda m: m.graph.ClearField("input"), "just 'ids'"),
    "two inputs": (lambda m: m.graph.input.append(m.graph.input[0]), "input: more than 1"),
    "other input type": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 7),
        "element type is not 6",
    ),
    "one output": (lambda m: m.graph.output.pop(), "scores and uncertainties"),
    "other width": (
        lambda m: setattr(m.graph.output[0].type.tensor_type.shape.dim[1], "dim_value", 9),
        "9 columns, the others 2",
    ),
    "fixed rows": (
        lambda m: setattr(m.graph.output[0].type.tensor_type.shape.dim[0], "dim_value", 9),
        "its shape is not",
    ),
    "a sequence": (
        lambda m: m.graph.output[0].type.sequence_type.SetInParent(),
        "type: field number 4",
    ),
    "an output that is a constant": (
        lambda m: (m.graph.node.pop(), constant(m, np.ones((1, 2), np.float32), "uncertainties")),
        "no node makes 'uncertainties'",
    ),
}


def test_a_student_is_read_to_its_last_byte() -> None:
    """What the runtime gets is the file itself, for a file as the export writes them."""
    file = tiny_student().SerializeToString()
    read = read_student(file)
    assert (read.opset, read.columns, read.tasks, read.content) == (17, 3, 2, file)


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_the_export_does_not_write_is_refused(name: str) -> None:
    """Each thing that a model may hold beyond a student is an error that names it."""
    change, fault = CHANGES[name]
    model = tiny_student()
    change(model)
    with pytest.raises(OnnxFileError, match=fault):
        read_student(model.SerializeToString())


@pytest.mark.parametrize(
    "hidden",
    [
        b"\xfa\x80\x80\x80\x80\x00\x01x",  # field 15 (sparse), its tag in six bytes
        b"\xba\x80\x80\x80\x00\x02\x7a\x00",  # the graph again, its tag in five bytes: merged
        b"\x3a\x02\x7a\x00",  # the graph again: merged
        b"\xa3\x06\xa4\x06",  # a group
        b"\xf8\xff\xff\xff\x0f\x01",  # the largest field number
    ],
)
def test_nothing_hides_behind_an_odd_encoding(hidden: bytes) -> None:
    """What a lenient reader would merge or skip is refused, at the head and at the tail."""
    file = tiny_student().SerializeToString()
    for data in (hidden + file, file + hidden):
        with pytest.raises(OnnxFileError):
            read_student(data)
