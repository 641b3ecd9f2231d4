"""Comparing a candidate with the serving artifact."""

import numpy as np
import pytest

from models.artifact import load_artifact
from tests.tiny_artifact import Make, tiny_student
from trainer.pipeline.rebuild import _evaluate_serving


def test_an_artifact_that_cannot_score_the_held_out_rows_can_be_replaced(
    make_artifact: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A serving artifact that cannot score them is not compared with, and ends no rebuild."""
    student = tiny_student(poison=5).SerializeToString()
    artifact = load_artifact(make_artifact(onnx_bytes=student))
    ids_NC = np.full((20, 3), 5, np.int32)
    labels_NT = np.tile(np.array([[0, np.nan], [1, 1]], np.float32), (10, 1))
    assert _evaluate_serving(artifact, ids_NC, labels_NT) is None
    assert "cannot score the held-out rows" in caplog.text
    fine = _evaluate_serving(artifact, ids_NC + 1, labels_NT)
    assert fine is not None
    assert fine.tasks["click"].rows == 20
