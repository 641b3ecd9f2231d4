"""A tiny artifact: three ids, two tasks, a student whose answers are known by hand."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.artifact import write_artifact
from models.artifact.manifest import Manifest, Metrics, TaskMetrics, TrainingRange, sha256
from models.features import FeatureSpec
from models.tasks import Task

SPEC_TEXT = """\
schema = "openrtb-2"

[[feature]]
name = "site"
kind = "categorical"
path = "site.id"
size = 8

[[feature]]
name = "segments"
kind = "tags"
path = "user.data[*].segment[*].id"
size = 16
slots = 2
"""

TASKS = (
    Task(name="click", window_s=60),
    Task(name="online", population="click", window_s=120),
)

Make = Callable[..., Path]


def tiny_student(
    columns: int = 3,
    tasks: int = 2,
    weights: Sequence[float] | None = None,
    factor: float = 0.1,
    poison: int | None = None,
) -> onnx.ModelProto:
    """A student with scores = sigmoid(0.1 * sum of ids) and uncertainties = scores / 10.

    Args:
        columns: Of the ids.
        tasks: Of scores and uncertainties.
        weights: Of each column, in place of 0.1.
        factor: In place of 1 / 10.
        poison: An id; where it is in the first column, uncertainties are NaN.
    """
    given_C = np.array(weights or [0.1] * columns, np.float32)
    weights_CT = np.repeat(given_C[:, None], tasks, axis=1)
    tenth = np.array(factor, np.float32)
    constants = [
        numpy_helper.from_array(weights_CT, "weights"),
        numpy_helper.from_array(tenth, "tenth"),
    ]
    deviations = "uncertainties" if poison is None else "healthy"
    poisoning = []
    if poison is not None:
        poisons = np.array([poison] + [-1] * (columns - 1), np.int32)
        constants += [
            numpy_helper.from_array(poisons, "poisons"),
            numpy_helper.from_array(np.array(3e38, np.float32), "huge"),
            numpy_helper.from_array(np.array([0], np.int64), "first"),
        ]
        poisoning = [
            helper.make_node("Equal", ["ids", "poisons"], ["found"]),
            helper.make_node("Cast", ["found"], ["one"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["one", "huge"], ["large"]),
            helper.make_node("Mul", ["large", "huge"], ["infinite"]),
            helper.make_node("Sub", ["infinite", "infinite"], ["undefined"]),
            helper.make_node("Gather", ["undefined", "first"], ["poison"], axis=1),
            helper.make_node("Add", ["healthy", "poison"], ["uncertainties"]),
        ]
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["ids"], ["x"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["x", "weights"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["scores"]),
            helper.make_node("Mul", ["scores", "tenth"], [deviations]),
            *poisoning,
        ],
        "tiny",
        [helper.make_tensor_value_info("ids", TensorProto.INT32, ["N", columns])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", tasks])
            for name in ("scores", "uncertainties")
        ],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def tiny_manifest(contents: dict[str, bytes], **changes: object) -> Manifest:
    numbers = TaskMetrics(rows=10, positives=5, auc_roc=0.8, auc_pr=0.7, log_loss=0.5, ece=0.01)
    per_task = {task.name: numbers for task in TASKS}
    fields: dict[str, object] = {
        "version": "v1",
        "created": "2024-05-01T00:00:00Z",
        "files": {name: sha256(content) for name, content in contents.items()},
        "spec_hash": FeatureSpec.parse(SPEC_TEXT, "test").hash,
        "opset": 17,
        "tasks": TASKS,
        "label_rates": {"click": 0.5, "online": 0.5},
        "training": TrainingRange(ts_min=0, ts_max=9, rows=10, unlabelled_rows=0, held_out_rows=10),
        "metrics": Metrics(teacher=per_task, student=per_task, uncertainty_spearman={}),
        "rescaling": {"click": 1.0, "online": 1.0},
        "agreement": 1e-7,
        "auto": None,
        "config": {},
        "seed": 0,
    }
    return Manifest.model_validate(fields | changes)


@pytest.fixture
def make_artifact(tmp_path: Path) -> Make:
    """Writes a tiny artifact and returns its folder; keywords change the manifest's fields.

    Another ``spec`` needs its ``spec_hash``, unless that is to be wrong.
    """

    def make(
        name: str = "artifact",
        onnx_bytes: bytes | None = None,
        spec: str = SPEC_TEXT,
        **changes: object,
    ) -> Path:
        contents = {
            "student.onnx": onnx_bytes or tiny_student().SerializeToString(),
            "features.toml": spec.encode(),
            "card.html": b"<p>a card</p>",
        }
        folder = tmp_path / name
        write_artifact(folder, tiny_manifest(contents, **changes), contents)
        return folder

    return make


@pytest.fixture
def tiny() -> Callable[..., bytes]:
    """Bytes of a tiny student; see :func:`tiny_student`."""
    return lambda **changes: tiny_student(**changes).SerializeToString()
