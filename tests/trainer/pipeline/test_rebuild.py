"""Comparing a candidate with the serving artifact."""

from dataclasses import replace

import numpy as np
import pytest

from models.artifact import load_artifact
from models.tasks import Task, TaskSet
from tests.tiny_artifact import Make, tiny_student
from trainer.gates.check import HeldOut
from trainer.pipeline.rebuild import _serving_predictions


def test_an_artifact_that_cannot_score_the_held_out_rows_can_be_replaced(
    make_artifact: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A serving artifact that cannot score them is not compared with, and ends no rebuild."""
    student = tiny_student(poison=5).SerializeToString()
    artifact = load_artifact(make_artifact(onnx_bytes=student))
    ids_NC = np.full((20, 3), 5, np.int32)
    labels_NT = np.tile(np.array([[0, np.nan], [1, 1]], np.float32), (10, 1))
    rows = HeldOut(ids_NC, labels_NT, np.ones(artifact.spec.rows, np.bool_))
    assert _serving_predictions(artifact, artifact.tasks, rows) is None
    assert "cannot score the held-out rows" in caplog.text
    fine = _serving_predictions(artifact, artifact.tasks, replace(rows, ids_NC=ids_NC + 1))
    assert fine is not None
    assert fine.scores_NT.shape == (20, 2)
    others = TaskSet([Task(name="sale", window_s=60)])
    assert _serving_predictions(artifact, others, replace(rows, ids_NC=ids_NC + 1)) is None
