from collections.abc import Callable

import numpy as np
import torch

from models.nets.config import StudentConfig
from models.nets.embedding import FeatureLayout
from models.nets.scale import MeanScale
from models.nets.student import Student


def test_predictions_are_the_heads_outputs_in_their_units(
    layout: FeatureLayout, random_ids: Callable[[int], np.ndarray]
) -> None:
    """Probabilities are sigmoids of the logits; the scale converts the uncertainties."""
    scale = MeanScale(torch.tensor([2.0, 4.0]))
    student = Student(layout, 2, StudentConfig(embedding=3, hidden=(8, 4)), scale)
    ids_NC = torch.from_numpy(random_ids(20))
    logits_NT, raw_NT = student(ids_NC)
    scores_NT, std_NT = student.predict(ids_NC)
    assert scores_NT.shape == std_NT.shape == (20, 2)
    assert not scores_NT.requires_grad
    torch.testing.assert_close(scores_NT, logits_NT.sigmoid().detach())
    torch.testing.assert_close(std_NT, scale(raw_NT).detach())
