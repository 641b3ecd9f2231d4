"""Held-out rows with true probabilities, and two models with errors of their own."""

import numpy as np

from models.tasks import Task, TaskSet
from trainer.gates.log_loss import Scored

ONE = TaskSet([Task(name="click", window_s=60)])
FUNNEL = TaskSet(
    [
        Task(name="click", window_s=60),
        Task(name="online", population="click", window_s=60),
        Task(name="deal", window_s=60),
    ]
)
OFFSETS = {"click": 0.0, "online": 0.5, "deal": -3.0}


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def market(
    seed: int,
    rows: int,
    *,
    serving_error: float = 0.3,
    candidate_error: float = 0.3,
    shift: float = 0.0,
    tasks: TaskSet = FUNNEL,
) -> tuple[Scored, np.ndarray]:
    """Rows whose models' logits miss the truth by normal errors, and the true probabilities.

    Args:
        seed: Of everything.
        rows: Number of rows.
        serving_error: Standard deviation of the serving model's error.
        candidate_error: That of the candidate's.
        shift: Added to the candidate's logits.
        tasks: The tasks.
    """
    rng = np.random.default_rng(seed)
    shape = (rows, len(tasks))
    offsets_T = np.array([OFFSETS[name] for name in tasks.names])
    logits_NT = rng.standard_normal((rows, 1)) + offsets_T
    true_NT = sigmoid(logits_NT)
    labels_NT = (rng.random(shape) < true_NT).astype(np.float64)
    if "online" in tasks.names:
        labels_NT[:, 1] *= labels_NT[:, 0]
    candidate_NT = sigmoid(logits_NT + candidate_error * rng.standard_normal(shape) + shift)
    serving_NT = sigmoid(logits_NT + serving_error * rng.standard_normal(shape))
    return Scored(candidate_NT, serving_NT, labels_NT, tasks), true_NT
