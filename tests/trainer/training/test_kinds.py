"""Every kind of teacher: it can learn anything, learns nothing from noise, and takes any task."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from models.nets.config import KINDS, TeacherConfig
from models.nets.embedding import FeatureLayout, Single
from models.nets.teacher import build_teacher
from trainer.training.config import TeacherTraining
from trainer.training.context import FitContext
from trainer.training.objective.funnel import Funnel
from trainer.training.teacher import base_rates, fit_single
from trainer.uncertainty.method import Float32Array, Ids, Rows

COLUMNS, VALUES, SCENARIOS = 6, 16, 4
OFFSETS = np.array([0, *range(SCENARIOS, SCENARIOS + 5 * VALUES, VALUES)])
SIZES = np.array([SCENARIOS, *[VALUES] * 5])
LAYOUT = FeatureLayout(
    rows=int(SIZES.sum()),
    columns=COLUMNS,
    singles=tuple(
        Single(f"f{c}", c, int(OFFSETS[c]), int(SIZES[c]), c == 5) for c in range(COLUMNS)
    ),
    slots=(),
    slot_missing=(),
    slot_feature=(),
)
NET = TeacherConfig(embedding=8, expert=32, tower=16, inducing=8, scenario=("f0",))
TRAINING = TeacherTraining(
    batch=100, epochs=1, steps=900, learning_rate=4e-3, snapshots=0, weight_decay=0.0
)
ANY_KIND = pytest.mark.parametrize("kind", KINDS)


def random_ids(rows: int, seed: int) -> Ids:
    values_NC = np.random.default_rng(seed).integers(0, SIZES, (rows, COLUMNS))
    return (values_NC + OFFSETS).astype(np.int32)


def truth(ids_NC: Ids) -> Float32Array:
    """Probabilities of two tasks, each of two features of its own."""
    f_NC = ids_NC - OFFSETS
    one_N = (f_NC[:, 1] % 3 - 1) * 1.2 + (f_NC[:, 2] % 2) * 1.2 - 0.6
    other_N = (f_NC[:, 3] % 3 - 1) * 1.2 + (f_NC[:, 4] % 2) * 1.2 - 0.6
    logits_NT = np.stack([one_N, other_N], axis=1)
    return np.asarray(1 / (1 + np.exp(-logits_NT)), np.float32)


def sampled(ids_NC: Ids, seed: int) -> Float32Array:
    p_NT = truth(ids_NC)
    return (np.random.default_rng(seed).random(p_NT.shape) < p_NT).astype(np.float32)


def fitted(rows: Rows, kind: str, training: TeacherTraining, test: Ids) -> Float32Array:
    """Scores of the test rows by a net of this kind."""
    torch.manual_seed(3)
    torch.set_num_threads(1)
    targets_NT = torch.from_numpy(rows.targets_NT)
    net = build_teacher(LAYOUT, targets_NT.shape[1], replace(NET, kind=kind))
    net.start_at(base_rates(targets_NT).logit().unsqueeze(1))
    context = FitContext(funnel=Funnel((None, None)))
    fit_single(
        net,
        torch.from_numpy(rows.ids_NC),
        targets_NT,
        name=kind,
        training=training,
        context=context,
    )
    with torch.no_grad():
        scores_NT: Float32Array = net(torch.from_numpy(test)).sigmoid().numpy()
    return scores_NT


def areas(scores_NT: Float32Array, labels_NT: Float32Array) -> list[float]:
    return [
        float(roc_auc_score(labels_N, scores_N))
        for labels_N, scores_N in zip(labels_NT.T, scores_NT.T, strict=True)
    ]


@ANY_KIND
def test_it_learns_300_rows_by_heart(kind: str) -> None:
    """Labels that nothing explains: a net that cannot reach AUC 0.99 on them has lost a path."""
    ids_NC = random_ids(300, 1)
    labels_NT = np.random.default_rng(2).integers(0, 2, (300, 2)).astype(np.float32)
    training = replace(TRAINING, objective="masked")  # these labels are no funnel
    scores_NT = fitted(Rows(ids_NC, labels_NT), kind, training, ids_NC)
    assert min(areas(scores_NT, labels_NT)) > 0.99


@ANY_KIND
def test_it_learns_the_tasks_in_either_order(kind: str) -> None:
    """Swapping the tasks costs neither of them more than noise: no place in the order is idle."""
    ids_NC, fresh_NC = random_ids(4000, 3), random_ids(4000, 4)
    labels_NT, fresh_NT = sampled(ids_NC, 5), sampled(fresh_NC, 6)
    training = replace(TRAINING, steps=250, learning_rate=4e-3, objective="masked")
    straight = areas(fitted(Rows(ids_NC, labels_NT), kind, training, fresh_NC), fresh_NT)
    swapped_NT = np.ascontiguousarray(labels_NT[:, ::-1])
    swapped = areas(fitted(Rows(ids_NC, swapped_NT), kind, training, fresh_NC)[:, ::-1], fresh_NT)
    ceiling = areas(truth(fresh_NC), fresh_NT)
    for one, other, best in zip(straight, swapped, ceiling, strict=True):
        assert min(one, other) > 0.5 + 0.7 * (best - 0.5)


@ANY_KIND
def test_it_finds_nothing_in_shuffled_labels(kind: str) -> None:
    """Held-out AUC stays near 0.5, where true labels give 0.75: rows and labels are not mixed up.

    What a net makes of noise is a function of few values, so its AUC varies by 0.02 around that.
    """
    ids_NC, fresh_NC = random_ids(2000, 7), random_ids(4000, 8)
    labels_NT = np.random.default_rng(9).permutation(sampled(ids_NC, 10))
    training = replace(TRAINING, steps=60, learning_rate=4e-3)
    scores_NT = fitted(Rows(ids_NC, labels_NT), kind, training, fresh_NC)
    for area in areas(scores_NT, sampled(fresh_NC, 11)):
        assert abs(area - 0.5) < 0.08
