from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from models.nets.embedding import FeatureLayout
from models.nets.export import OPSET, ExportError, check_agreement, export_student
from models.nets.student import Student, StudentConfig, mean_matching
from models.onnxfile import inspect_onnx

RESCALING = torch.tensor([4.0, 0.5, 20.0])


def student(layout: FeatureLayout, *hidden: int) -> Student:
    torch.manual_seed(1)
    net = Student(layout, 3, StudentConfig(embedding=5, hidden=hidden))
    with torch.no_grad():
        net.embedding.table_RD.mul_(40)
    return net


@pytest.mark.parametrize("hidden", [(16,), (16, 8), (16, 8, 4)])
def test_onnx_computes_what_torch_does(
    layout: FeatureLayout, random_ids: Callable[[int], np.ndarray], hidden: tuple[int, ...]
) -> None:
    """Scores, and uncertainties back in the teacher's units, agree for any number of rows."""
    net = student(layout, *hidden)
    model = export_student(net, RESCALING)
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    for rows in (1, 2, 300):
        ids_NC = random_ids(rows)
        scores_NT, uncertainties_NT = session.run(["scores", "uncertainties"], {"ids": ids_NC})
        with torch.no_grad():
            logits_NT, scaled_NT = net(torch.from_numpy(ids_NC).long())
        np.testing.assert_allclose(scores_NT, logits_NT.sigmoid(), atol=1e-6)
        np.testing.assert_allclose(uncertainties_NT, scaled_NT / RESCALING, atol=1e-6)
        if rows > 1:
            assert scores_NT.std(0).min() > 1e-3
    difference, scores_NT, _ = check_agreement(net, RESCALING, model, random_ids(300))
    assert difference < 1e-5
    assert scores_NT.shape == (300, 3)


def test_the_file_is_one_and_standard(layout: FeatureLayout) -> None:
    """The opset is the stated one, and what a worker checks holds."""
    model = export_student(student(layout, 8), RESCALING)
    assert inspect_onnx(model).opset == OPSET
    parsed = onnx.load_from_string(model)
    assert [entry.domain for entry in parsed.opset_import] == [""]


def test_disagreement_is_an_error(
    layout: FeatureLayout, random_ids: Callable[[int], np.ndarray]
) -> None:
    """A student that changed after its export is not the exported one."""
    net = student(layout, 8)
    model = export_student(net, RESCALING)
    with torch.no_grad():
        net.score.bias.add_(0.01)
    with pytest.raises(ExportError, match="differs from torch"):
        check_agreement(net, RESCALING, model, random_ids(50))


def test_mean_matching_brings_uncertainty_to_the_labels_mean() -> None:
    """Scaled uncertainties have the labels' mean per task; constant zeros stay as they are."""
    uncertainties_NT = torch.tensor([[0.01, 0.0], [0.03, 0.0]])
    factor_T = mean_matching(uncertainties_NT, torch.tensor([0.6, 0.02]))
    np.testing.assert_allclose(factor_T, [30.0, 1.0], rtol=1e-6)
