"""A tiny funnel whose truth is known, and a lab on it."""

from dataclasses import dataclass

import numpy as np

from models.nets.config import TeacherConfig
from models.nets.embedding import FeatureLayout, Single
from trainer.training.config import TeacherTraining
from trainer.training.context import FitContext
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Float32Array, Rows

LAYOUT = FeatureLayout(
    rows=38,
    columns=4,
    singles=(Single("one", 0, 0, 12, ordered=True), Single("two", 1, 12, 12, ordered=False)),
    slots=(2, 3),
    slot_missing=(24, 24),
    slot_feature=(0, 0),
)
NET = TeacherConfig(embedding=4, expert=24, tower=16)
TRAINING = TeacherTraining(
    batch=64, epochs=10, learning_rate=5e-3, swag_learning_rate=1e-3, snapshots=5, samples=6
)


@dataclass(frozen=True)
class World:
    """Requests with two tasks; the second is learned among the positives of the first."""

    rows: Rows
    truth_NT: Float32Array


def make_world(rows: int, seed: int) -> World:
    rng = np.random.default_rng(seed)
    ids_NC = (rng.integers(0, 12, (rows, 4)) + np.array([0, 12, 24, 24])).astype(np.int32)
    truth_NT = np.stack(
        [np.where(ids_NC[:, 0] % 2, 0.2, 0.8), np.where(ids_NC[:, 1] % 2, 0.1, 0.6)], axis=1
    ).astype(np.float32)
    targets_NT = (rng.random((rows, 2)) < truth_NT).astype(np.float32)
    targets_NT[targets_NT[:, 0] == 0, 1] = np.nan
    return World(Rows(ids_NC, targets_NT), truth_NT)


def make_lab(seed: int = 0, net: TeacherConfig = NET) -> Lab:
    return Lab(
        LAYOUT,
        make_world(3000, 1).rows,
        teacher=net,
        training=TRAINING,
        context=FitContext(seed),
    )
