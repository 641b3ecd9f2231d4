"""The student as ONNX: one file, standard operators, built node by node.

The graph is small enough to write out, which keeps it free of tracing and lets it be shaped for the
runtime: the pooling of tags is a weight per slot, and the first layer's rows are repeated per slot,
so that embedding and first layer are two look-ups and two matrix products. The uncertainties'
rescaling is divided out inside the graph.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from models.nets.embedding import FeatureEmbedding
from models.nets.student import Student

OPSET: Final = 17
IR_VERSION: Final = 8
AGREEMENT_LIMIT: Final = 1e-5
AGREEMENT_ROWS: Final = 8192
Scores = npt.NDArray[np.float32]


class ExportError(RuntimeError):
    """An export that does not compute what torch computes."""


class _Graph:
    """Nodes and constants under construction; every node is named after its only output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output


def export_student(student: Student, rescaling_T: Tensor) -> bytes:
    """Content of ``student.onnx``.

    Args:
        student: The trained student.
        rescaling_T: Factor that the uncertainty targets were multiplied with.
    """
    graph = _Graph()
    layers = [layer for layer in student.hidden if isinstance(layer, nn.Linear)]
    x = graph.node("Relu", [_first_layer(graph, student.embedding, layers[0])], "hidden0")
    for number, layer in enumerate(layers[1:], start=1):
        x = graph.node("Relu", [_linear(graph, x, layer, f"linear{number}")], f"hidden{number}")
    graph.node("Sigmoid", [_linear(graph, x, student.score, "logits")], "scores")
    scaled = graph.node(
        "Softplus", [_linear(graph, x, student.uncertainty, "uncertainty")], "scaled"
    )
    rescaling = graph.constant("rescaling", rescaling_T.detach().numpy().astype(np.float32))
    graph.node("Div", [scaled, rescaling], "uncertainties")
    tasks, columns = len(rescaling_T), student.embedding.layout.columns
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "student",
            [helper.make_tensor_value_info("ids", TensorProto.INT32, ["N", columns])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", tasks])
                for name in ("scores", "uncertainties")
            ],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="weir",
    )
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


@torch.no_grad()
def check_agreement(
    student: Student, rescaling_T: Tensor, model: bytes, ids_NC: npt.NDArray[np.integer[Any]]
) -> tuple[float, Scores, Scores]:
    """Compare torch and onnxruntime on real rows, piece by piece.

    Returns:
        The largest absolute difference, and onnxruntime's ``scores_NT`` and ``uncertainties_NT``.

    Raises:
        ExportError: If the difference exceeds 1e-5.
    """
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    pieces, difference = [], 0.0
    for start in range(0, len(ids_NC), AGREEMENT_ROWS):
        ids_KC = ids_NC[start : start + AGREEMENT_ROWS].astype(np.int32)
        pieces.append(session.run(["scores", "uncertainties"], {"ids": ids_KC}))
        logits_KT, scaled_KT = student(torch.from_numpy(ids_KC))
        torch_2KT = torch.stack([logits_KT.sigmoid(), scaled_KT / rescaling_T]).numpy()
        difference = max(difference, float(np.abs(np.stack(pieces[-1]) - torch_2KT).max()))
    scores_NT, uncertainties_NT = (np.concatenate(parts) for parts in zip(*pieces, strict=True))
    if not difference <= AGREEMENT_LIMIT:
        raise ExportError(
            f"the exported student differs from torch by {difference:.2e}; "
            f"{AGREEMENT_LIMIT:.0e} is allowed"
        )
    return difference, scores_NT, uncertainties_NT


def _first_layer(graph: _Graph, embedding: FeatureEmbedding, layer: nn.Linear) -> str:
    """Embedding and first layer: ids (N, C) to (N, H)."""
    layout, width = embedding.layout, embedding.width
    table = graph.constant("table", _array(embedding.table_RD))
    weight_FDH = _array(layer.weight).T.reshape(layout.features, width, -1)
    hidden = weight_FDH.shape[2]
    out = graph.constant("linear0_bias", _array(layer.bias))
    if layout.singles:
        count = len(layout.singles)
        columns = graph.constant("single_columns", np.array(layout.singles, np.int64))
        ids = graph.node("Gather", ["ids", columns], "single_ids", axis=1)
        vectors = graph.node("Gather", [table, ids], "single_vectors")
        shape = graph.constant("single_shape", np.array([-1, count * width], np.int64))
        flat = graph.node("Reshape", [vectors, shape], "single_flat")
        weight = graph.constant("single_weight", weight_FDH[:count].reshape(-1, hidden))
        out = graph.node("Gemm", [flat, weight, out], "single_linear")
    if layout.slots:
        flat = _pooled_slots(graph, embedding, table)
        rows_G = len(layout.singles) + np.array(layout.slot_feature, np.int64)
        weight = graph.constant("slot_weight", weight_FDH[rows_G].reshape(-1, hidden))
        out = graph.node("Gemm", [flat, weight, out], "slot_linear")
    return out


def _pooled_slots(graph: _Graph, embedding: FeatureEmbedding, table: str) -> str:
    """Vectors of the G tag slots (N, G * D), each divided by its feature's number of tags."""
    layout = embedding.layout
    columns = graph.constant("slot_columns", np.array(layout.slots, np.int64))
    ids = graph.node("Gather", ["ids", columns], "slot_ids", axis=1)
    missing = graph.constant("slot_missing", np.array(layout.slot_missing, np.int32))
    absent = graph.node("Equal", [ids, missing], "slot_absent")
    present = graph.node(
        "Cast", [graph.node("Not", [absent], "slot_present")], "slot_ones", to=TensorProto.FLOAT
    )
    pool_GP = _array(embedding.pool_GP)
    same = graph.constant("slot_same_feature", pool_GP @ pool_GP.T)
    tags = graph.node("MatMul", [present, same], "slot_tags")
    one = graph.constant("one", np.array(1, np.float32))
    share = graph.node("Div", [present, graph.node("Max", [tags, one], "slot_count")], "share")
    last = graph.constant("last_axis", np.array([2], np.int64))
    factor = graph.node("Unsqueeze", [share, last], "slot_factor")
    vectors = graph.node("Gather", [table, ids], "slot_vectors")
    weighted = graph.node("Mul", [vectors, factor], "slot_weighted")
    size = len(layout.slots) * embedding.width
    shape = graph.constant("slot_shape", np.array([-1, size], np.int64))
    return graph.node("Reshape", [weighted, shape], "slot_flat")


def _linear(graph: _Graph, x: str, layer: nn.Linear, name: str) -> str:
    weight = graph.constant(f"{name}_weight", _array(layer.weight).T)
    bias = graph.constant(f"{name}_bias", _array(layer.bias))
    return graph.node("Gemm", [x, weight, bias], name)


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = tensor.detach().numpy()
    return array
