from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from models.artifact import ArtifactError, ArtifactFault, load_artifact
from models.artifact.scorer import Scorer, ScoringError

Make = Callable[..., Path]


def ids(rows: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 24, (rows, 3), dtype=np.int32)


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 9, 1000])
@pytest.mark.parametrize("batch", [1, 8, 512])
def test_scores_are_the_students_whatever_the_batch(
    make_artifact: Make, rows: int, batch: int
) -> None:
    """Rows come back in order and complete, however they are cut into batches."""
    scorer = Scorer(load_artifact(make_artifact()), batch=batch)
    ids_NC = ids(rows)
    scores_NT, uncertainties_NT = scorer.score(ids_NC)
    expected_N = 1 / (1 + np.exp(-0.1 * ids_NC.sum(axis=1)))
    assert scores_NT.shape == uncertainties_NT.shape == (rows, 2)
    assert scores_NT.dtype == uncertainties_NT.dtype == np.float32
    np.testing.assert_allclose(scores_NT, np.stack([expected_N, expected_N], 1), atol=1e-6)
    np.testing.assert_allclose(uncertainties_NT, scores_NT / 10, atol=1e-6)


@pytest.mark.parametrize(
    "wrong",
    [ids(4).astype(np.int64), ids(4)[:, :2], ids(4)[0], ids(4).astype(np.float32)],
)
def test_wrong_ids_are_refused(make_artifact: Make, wrong: np.ndarray) -> None:
    """Another type or width is an error that says what is needed."""
    scorer = Scorer(load_artifact(make_artifact()))
    with pytest.raises(ScoringError, match=r"int32 of shape \(N, 3\)"):
        scorer.score(wrong)


@pytest.mark.parametrize(
    "change",
    [
        {"poison": 5},
        {"factor": -0.1},
        {"factor": 3e38},
    ],
)
def test_what_is_no_probability_or_no_deviation_is_an_error(
    make_artifact: Make, tiny: Make, change: dict[str, Any]
) -> None:
    """NaN, a negative or a boundless uncertainty never reach the policy."""
    scorer = Scorer(load_artifact(make_artifact(onnx_bytes=tiny(**change))))
    with pytest.raises(ScoringError, match="gave a score that is not in"):
        scorer.score(np.full((3, 3), 5, np.int32))


class Unshaped:
    """A runtime whose results have another shape or type than the model declares."""

    def __init__(self, *results: np.ndarray) -> None:
        self.results = results

    def run(self, *_arguments: object) -> Sequence[np.ndarray]:
        return self.results


@pytest.mark.parametrize(
    "wrong",
    [
        np.full((1, 2), 0.5, np.float32),  # would fit by broadcasting
        np.full((4, 1), 0.5, np.float32),
        np.full((4, 2), 0.5, np.float64),
        np.float32(0.5).reshape(()),
    ],
)
def test_results_of_another_shape_are_an_error(make_artifact: Make, wrong: np.ndarray) -> None:
    """What would fit by broadcasting or by a cast is refused all the same."""
    scorer = Scorer(load_artifact(make_artifact()))
    right = np.full((4, 2), 0.5, np.float32)
    for results in ((wrong, right), (right, wrong)):
        scorer._session = Unshaped(*results)
        with pytest.raises(ScoringError, match="must be float32 of shape"):
            scorer.score(ids(4))


@pytest.mark.parametrize("shape", [{"columns": 4}, {"tasks": 1}])
def test_a_student_for_other_features_or_tasks_is_refused(
    make_artifact: Make, tiny: Make, shape: dict[str, int]
) -> None:
    """Inputs and outputs must be those of the artifact's spec and tasks."""
    with pytest.raises(ArtifactError) as caught:
        Scorer(load_artifact(make_artifact(onnx_bytes=tiny(**shape))))
    assert caught.value.code == ArtifactFault.BAD_MODEL


def test_a_model_that_the_runtime_refuses_is_a_bad_model(make_artifact: Make) -> None:
    """A graph with an operator that does not exist is refused when the scorer is built."""
    graph = helper.make_graph(
        [helper.make_node("NoSuchOperator", ["ids"], ["scores"])],
        "bad",
        [helper.make_tensor_value_info("ids", TensorProto.INT32, ["N", 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    artifact = replace(load_artifact(make_artifact()), onnx=model.SerializeToString())
    with pytest.raises(ArtifactError) as caught:
        Scorer(artifact)
    assert caught.value.code == ArtifactFault.BAD_MODEL


def test_warm_up_accepts_a_good_student(make_artifact: Make) -> None:
    """A valid student survives its warm-up and scores afterwards."""
    scorer = Scorer(load_artifact(make_artifact()), threads=2, batch=16)
    scorer.warm_up()
    assert len(scorer.score(ids(5))[0]) == 5
