import numpy as np
import torch
from torch import Tensor

from models.tasks import Task, TaskSet
from trainer.pipeline.labeller import MethodLabeller, compare
from trainer.training.config import AUTO, UNCERTAINTIES, TrainConfig
from trainer.training.rows import RowRange
from trainer.uncertainty import METHODS
from trainer.uncertainty.method import Prediction
from trainer.uncertainty.shared_score import SharedScoreEstimator

TASKS = TaskSet([Task(name="deal", window_s=1)])
ROWS = 4000


class Said:
    """A labeller or a method that says of row n what it was given for row n."""

    def __init__(self, mean_N: np.ndarray, u_N: np.ndarray) -> None:
        self.mean_N1 = mean_N.astype(np.float32)[:, None]
        self.u_N1 = u_N.astype(np.float32)[:, None]

    def predict(self, ids_N1: Tensor) -> tuple[Tensor, Tensor]:
        rows = ids_N1[:, 0].numpy()
        return torch.from_numpy(self.mean_N1[rows]), torch.from_numpy(self.u_N1[rows])

    def redrawn(self, number: int) -> "Said":
        return Said(self.mean_N1[:, 0] + number, self.u_N1[:, 0])


class Method:
    """The same as a method."""

    def __init__(self, said: Said) -> None:
        self.said = said

    def predict(self, ids_N1: np.ndarray) -> Prediction:
        mean, u = self.said.predict(torch.from_numpy(ids_N1))
        return Prediction(mean.numpy(), u.numpy(), u.numpy())


def test_scores_are_the_teachers_and_uncertainty_the_methods() -> None:
    """Another method changes how unsure the labels are, not what they say."""
    rng = np.random.default_rng(1)
    teacher, method = (Said(rng.random(10), rng.random(10)) for _ in range(2))
    mean_NT, u_NT = MethodLabeller(teacher, Method(method)).predict(torch.arange(10).unsqueeze(1))
    np.testing.assert_array_equal(mean_NT, teacher.mean_N1)
    np.testing.assert_array_equal(u_NT, method.u_N1)


def test_other_samples_change_the_scores_alone() -> None:
    """A method is fitted once; only the teacher draws."""
    rng = np.random.default_rng(1)
    teacher, method = (Said(rng.random(10), rng.random(10)) for _ in range(2))
    labeller = MethodLabeller(teacher, Method(method)).redrawn(3)
    mean_NT, u_NT = labeller.predict(torch.arange(10).unsqueeze(1))
    np.testing.assert_array_equal(mean_NT, teacher.mean_N1 + 3)
    np.testing.assert_array_equal(u_NT, method.u_N1)


def test_methods_that_share_the_score_are_asked_for_the_spread_alone() -> None:
    """They spread around the score that the teacher has just given, and find none again."""

    class Lab:
        def scores(self, _ids: np.ndarray) -> np.ndarray:
            raise AssertionError("the score was found twice")

    rng = np.random.default_rng(1)
    teacher = Said(rng.random(10), rng.random(10))
    method = SharedScoreEstimator(Lab(), lambda _, mean_NT: mean_NT / 2)
    mean_NT, u_NT = MethodLabeller(teacher, method).predict(torch.arange(10).unsqueeze(1))
    np.testing.assert_array_equal(u_NT, mean_NT / 2)


def test_all_methods_are_compared_on_the_teachers_scores() -> None:
    """A method that marks the good requests which the teacher ranks last is the pick."""
    rng = np.random.default_rng(2)
    truth_N = rng.random(ROWS)
    missed_N = rng.random(ROWS) < 0.1
    truth_N[missed_N] = 0.95
    scores_N = np.where(missed_N, 0.01, truth_N)
    labels_N1 = torch.from_numpy((rng.random(ROWS) < truth_N).astype(np.float32)).unsqueeze(1)
    newest = RowRange(torch.arange(ROWS).unsqueeze(1), labels_N1, labels_N1, torch.ones(ROWS))
    labellers = {
        "swag": Said(scores_N, rng.random(ROWS)),
        "knowing": Said(scores_N, missed_N),
    }
    evidence = compare(labellers, newest, TASKS, TrainConfig())
    assert evidence is not None
    assert (evidence.method, evidence.direct_share) == ("knowing", 0.05)
    assert {row.method for row in evidence.table} == {"swag", "knowing"}


def test_the_configuration_knows_every_method() -> None:
    """What may be configured are the methods there are; auto is not one of them."""
    assert list(METHODS) == list(UNCERTAINTIES)
    assert AUTO not in METHODS
