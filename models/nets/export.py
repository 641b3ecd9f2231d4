"""Export of the student to ONNX: one file of standard operators, built node by node.

The graph is small enough to be built without tracing, in a form that suits the runtime: the pooling
of tags is a weight per slot, and the first layer's rows are repeated per slot, so that embedding
and first layer are one look-up and two matrix products. The graph ends with the inverse of the
uncertainty target, so that its outputs are standard deviations.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from models.artifact.onnxfile import INPUT, IR_VERSION, OPSET, OUTPUTS
from models.errors import UserError
from models.nets.embedding import FeatureEmbedding
from models.nets.scale import LogVarianceScale, MeanScale, PiecewiseScale, RankScale
from models.nets.student import Student

AGREEMENT_LIMIT: Final = 1e-5
AGREEMENT_ROWS: Final = 8192
Scores = npt.NDArray[np.float32]


class ExportError(UserError, RuntimeError):
    """An exported graph whose results differ from torch's."""


class _Graph:
    """A graph under construction; every node has the name of its only output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output


def export_student(student: Student) -> bytes:
    """The content of ``student.onnx``."""
    graph = _Graph()
    layers = [layer for layer in student.hidden if isinstance(layer, nn.Linear)]
    x = graph.node("Relu", [_first_layer(graph, student.embedding, layers[0])], "hidden0")
    for number, layer in enumerate(layers[1:], start=1):
        x = graph.node("Relu", [_linear(graph, x, layer, f"linear{number}")], f"hidden{number}")
    graph.node("Sigmoid", [_linear(graph, x, student.score, "logits")], "scores")
    _uncertainties(graph, student.scale, _linear(graph, x, student.uncertainty, "raw"))
    tasks, columns = student.score.out_features, student.embedding.layout.columns
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "student",
            [helper.make_tensor_value_info(INPUT, TensorProto.INT32, ["N", columns])],
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", tasks])
                for name in OUTPUTS
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


def check_agreement(
    student: Student, model: bytes, ids_NC: npt.NDArray[np.integer[Any]]
) -> tuple[float, Scores, Scores]:
    """Compare torch and onnxruntime on real rows, in batches.

    Returns:
        The largest absolute difference, and onnxruntime's ``scores_NT`` and ``uncertainties_NT``.

    Raises:
        ExportError: If the difference exceeds :data:`AGREEMENT_LIMIT`.
    """
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    batches, difference = [], 0.0
    for start in range(0, len(ids_NC), AGREEMENT_ROWS):
        ids_KC = ids_NC[start : start + AGREEMENT_ROWS].astype(np.int32)
        batches.append(session.run(["scores", "uncertainties"], {"ids": ids_KC}))
        torch_2KT = torch.stack(student.predict(torch.from_numpy(ids_KC))).numpy()
        difference = max(difference, float(np.abs(np.stack(batches[-1]) - torch_2KT).max()))
    scores_NT, uncertainties_NT = (
        np.concatenate(results) for results in zip(*batches, strict=True)
    )
    if not difference <= AGREEMENT_LIMIT:
        raise ExportError(
            f"the exported student differs from torch by {difference:.2e}; "
            f"{AGREEMENT_LIMIT:.0e} is allowed"
        )
    return difference, scores_NT, uncertainties_NT


def _first_layer(graph: _Graph, embedding: FeatureEmbedding, layer: nn.Linear) -> str:
    """Embedding and first layer: ids (N, C) to (N, H).

    The vectors of all columns are looked up once and multiplied in place, with zero rows for the
    tag slots; the few slots are gathered, weighted, and multiplied separately.
    """
    layout, width = embedding.layout, embedding.width
    weight_FDH = _array(layer.weight).T.reshape(layout.features, width, -1)
    weight_CDH = np.zeros((layout.columns, *weight_FDH.shape[1:]), np.float32)
    weight_CDH[[single.column for single in layout.singles]] = weight_FDH[: len(layout.singles)]
    table = graph.constant("table", _array(embedding.table_RD))
    bias = graph.constant("linear0_bias", _array(layer.bias))
    vectors = graph.node("Gather", [table, "ids"], "vectors")
    out = _multiplied(graph, vectors, weight_CDH, bias)
    if not layout.slots:
        return out
    columns = graph.constant("slot_columns", np.array(layout.slots, np.int64))
    slots = graph.node("Gather", [vectors, columns], "slot_vectors", axis=1)
    factors = _slot_factors(graph, embedding, columns)
    weighted = graph.node("Mul", [slots, factors], "slot_weighted")
    rows_G = len(layout.singles) + np.array(layout.slot_feature, np.int64)
    return _multiplied(graph, weighted, weight_FDH[rows_G], out)


def _multiplied(
    graph: _Graph, vectors: str, weight_KDH: npt.NDArray[np.float32], added: str
) -> str:
    """The product of vectors (N, K, D) and weights, plus ``added``: (N, H)."""
    flat_KDH = weight_KDH.reshape(-1, weight_KDH.shape[2])
    shape = graph.constant(f"{vectors}_shape", np.array([-1, len(flat_KDH)], np.int64))
    flat = graph.node("Reshape", [vectors, shape], f"{vectors}_flat")
    weight = graph.constant(f"{vectors}_weight", flat_KDH)
    return graph.node("Gemm", [flat, weight, added], f"{vectors}_linear")


def _slot_factors(graph: _Graph, embedding: FeatureEmbedding, columns: str) -> str:
    """One over the number of tags of a slot's feature (N, G, 1); 0 for slots without a tag."""
    layout = embedding.layout
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
    return graph.node("Unsqueeze", [share, last], "slot_factor")


def _uncertainties(graph: _Graph, scale: nn.Module, raw: str) -> None:
    """Standard deviations from the head's raw outputs, as in the scale's ``forward``."""
    match scale:
        case MeanScale():
            factor = graph.constant("factor", _array(scale.factor_T))
            graph.node("Div", [graph.node("Softplus", [raw], "scaled"), factor], "uncertainties")
        case LogVarianceScale():
            half_spread = graph.constant("half_spread", _array(scale.spread_T / 2))
            half_mean = graph.constant("half_mean", _array(scale.mean_T / 2))
            centred = graph.node("Mul", [raw, half_spread], "centred")
            graph.node("Exp", [graph.node("Add", [centred, half_mean], "log_u")], "uncertainties")
        case PiecewiseScale():
            ranked = isinstance(scale, RankScale)
            _piecewise(graph, scale, graph.node("Sigmoid", [raw], "ranks") if ranked else raw)
        case _:
            raise ExportError(f"{type(scale).__name__}: there is no graph for this scale")


def _piecewise(graph: _Graph, scale: PiecewiseScale, x: str) -> None:
    axis = graph.constant("knot_axis", np.array([2], np.int64))
    start = graph.constant("knot_start", _array(scale.start_TK))
    slope = graph.constant("knot_slope", _array(scale.slope_TK))
    least = graph.constant("knot_least", np.array(0, np.float32))
    most = graph.constant("knot_most", _array(scale.most_K))
    rise = graph.constant("knot_rise", _array(scale.rise_TK))
    first = graph.constant("knot_first", _array(scale.first_T))
    beyond = graph.node("Sub", [graph.node("Unsqueeze", [x, axis], "x"), start], "knot_beyond")
    share = graph.node("Mul", [beyond, slope], "knot_steps")
    share = graph.node("Max", [share, least], "knot_positive")
    share = graph.node("Min", [share, most], "knot_share")
    risen = graph.node("Mul", [share, rise], "knot_risen")
    total = graph.node("ReduceSum", [risen, axis], "knot_sum", keepdims=0)
    graph.node("Add", [total, first], "uncertainties")


def _linear(graph: _Graph, x: str, layer: nn.Linear, name: str) -> str:
    weight = graph.constant(f"{name}_weight", _array(layer.weight).T)
    bias = graph.constant(f"{name}_bias", _array(layer.bias))
    return graph.node("Gemm", [x, weight, bias], name)


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = tensor.detach().numpy()
    return array
