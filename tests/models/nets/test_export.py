from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from models.artifact.onnxfile import OPSET, read_student
from models.nets.config import StudentConfig, Target
from models.nets.embedding import FeatureLayout
from models.nets.export import ExportError, check_agreement, export_student
from models.nets.scale import build_scale
from models.nets.student import Student

TARGETS = ("mean", "log_variance", "rank", "quantile")


def student(layout: FeatureLayout, *hidden: int, target: Target = "mean") -> Student:
    """A student at random, whose outputs spread, for a teacher unsure by 0.01 to 0.06."""
    torch.manual_seed(1)
    std_NT = 0.01 + 0.05 * torch.rand(2000, 3) ** 3
    scale = build_scale(target, torch.rand(2000, 3), std_NT)
    net = Student(layout, 3, StudentConfig(embedding=5, hidden=hidden), scale)
    with torch.no_grad():
        net.embedding.table_RD.mul_(40)
    return net


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("hidden", [(16,), (16, 8, 4)])
def test_onnx_computes_what_torch_does(
    layout: FeatureLayout,
    random_ids: Callable[[int], np.ndarray],
    hidden: tuple[int, ...],
    target: Target,
) -> None:
    """Scores, and uncertainties back in the teacher's units, agree for any number of rows."""
    net = student(layout, *hidden, target=target)
    model = export_student(net)
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    for rows in (1, 2, 300):
        ids_NC = random_ids(rows)
        scores_NT, uncertainties_NT = session.run(["scores", "uncertainties"], {"ids": ids_NC})
        expected_NT, expected_u_NT = net.predict(torch.from_numpy(ids_NC))
        np.testing.assert_allclose(scores_NT, expected_NT, atol=1e-6)
        np.testing.assert_allclose(uncertainties_NT, expected_u_NT, atol=1e-6)
        if rows > 2:
            assert scores_NT.std(0).min() > 1e-3
            assert uncertainties_NT.std(0).min() > 1e-4
    difference, scores_NT, _ = check_agreement(net, model, random_ids(300))
    assert difference < 1e-5
    assert scores_NT.shape == (300, 3)


def test_the_file_is_one_and_standard(layout: FeatureLayout) -> None:
    """The opset is the stated one, what a worker checks holds, and it understands every byte."""
    for target in TARGETS:
        model = export_student(student(layout, 8, target=target))
        read = read_student(model)
        assert (read.opset, read.columns, read.tasks) == (OPSET, layout.columns, 3)
        assert read.content == model
        parsed = onnx.load_from_string(model)
        assert [entry.domain for entry in parsed.opset_import] == [""]


def test_disagreement_is_an_error(
    layout: FeatureLayout, random_ids: Callable[[int], np.ndarray]
) -> None:
    """A student that changed after its export is not the exported one."""
    net = student(layout, 8)
    model = export_student(net)
    with torch.no_grad():
        net.score.bias.add_(0.01)
    with pytest.raises(ExportError, match="differs from torch"):
        check_agreement(net, model, random_ids(50))
