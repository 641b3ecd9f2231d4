from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from models.nets.config import KINDS, TeacherConfig, TeacherKind
from models.nets.losses import LearnedTaskWeights
from models.nets.teacher import build_teacher
from tests.trainer.uncertainty.tiny_funnel import LAYOUT, NET, TRAINING, make_lab, make_world
from trainer.training.config import TeacherTraining
from trainer.training.context import FitContext
from trainer.training.objective.funnel import Funnel
from trainer.training.teacher import fit_single
from trainer.uncertainty import METHODS
from trainer.uncertainty.boosting import fit_boosting
from trainer.uncertainty.count import pseudo_counts
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.laplace import best_precision, posterior_covariance
from trainer.uncertainty.method import Float32Array, Ids, Rows


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_teacher_learns(
    fresh_ids: Ids, fresh_truth: Float32Array, kind: TeacherKind
) -> None:
    """Its scores are far nearer to the truth than the base rates; learned task weights do too."""
    net = build_teacher(LAYOUT, 2, replace(NET, kind=kind))
    rows = make_world(3000, 1).rows
    torch.manual_seed(1)
    fit_single(
        net,
        torch.from_numpy(rows.ids_NC),
        torch.from_numpy(rows.targets_NT),
        training=replace(TRAINING, task_weights="learned"),
        name=kind,
        context=FitContext(funnel=Funnel((None, 0))),
    )
    with torch.no_grad():
        scores_NT = net(torch.from_numpy(fresh_ids)).sigmoid().numpy()
    error_T = np.abs(scores_NT - fresh_truth).mean(axis=0)
    base_T = np.abs(np.nanmean(rows.targets_NT, axis=0) - fresh_truth).mean(axis=0)
    assert (error_T < 0.6 * base_T).all()


def test_learned_task_weights_settle_at_the_losses() -> None:
    """Kendall's weight of a task is one over twice its loss at the optimum."""
    weights = LearnedTaskWeights(2)
    losses_T = torch.tensor([0.6, 0.1])
    optimizer = torch.optim.Adam(weights.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        weights(losses_T).backward()
        optimizer.step()
    torch.testing.assert_close(weights.log_variance_T.exp(), 2 * losses_T, rtol=1e-2, atol=0)


def test_task_weights_must_be_one_per_task() -> None:
    """Three numbers for two tasks are refused."""
    lab = Lab(
        LAYOUT,
        make_world(100, 1).rows,
        teacher=NET,
        training=TeacherTraining(task_weights=(1.0, 2.0, 3.0)),
        context=FitContext(0),
    )
    with pytest.raises(ValueError, match="3 weights for 2 tasks"):
        lab.single()


def test_a_seed_decides_everything(fresh_ids: Ids) -> None:
    """Equal seeds give equal predictions, other seeds others; torch's generator is untouched."""
    state = torch.get_rng_state()
    first, again, other = (
        METHODS["mc_dropout"](make_lab(seed)).predict(fresh_ids) for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(first.mean_NT, again.mean_NT)
    np.testing.assert_array_equal(first.epistemic_NT, again.epistemic_NT)
    assert (first.epistemic_NT != other.epistemic_NT).any()


def test_boosting_learns_and_corrects(fresh_ids: Ids, fresh_truth: Float32Array) -> None:
    """It finds the truth by itself, and mends scores that are wrong for a group of requests."""
    rows = make_world(4000, 5).rows
    alone = fit_boosting(rows.ids_NC, rows.targets_NT, seed=1)
    assert np.abs(alone.predict(fresh_ids) - fresh_truth).mean(axis=0).max() < 0.1
    again = fit_boosting(rows.ids_NC, rows.targets_NT, seed=1)
    np.testing.assert_array_equal(alone.predict(fresh_ids), again.predict(fresh_ids))
    wrong_NT = np.zeros_like(rows.targets_NT)
    mended = fit_boosting(rows.ids_NC, rows.targets_NT, seed=1, offsets_NT=wrong_NT)
    scores_NT = mended.predict(fresh_ids, np.zeros_like(fresh_truth))
    assert np.abs(scores_NT - fresh_truth).mean(axis=0).max() < 0.1


class Linear(torch.nn.Module):
    """A net whose last layer reads the ids themselves, with known weights."""

    def __init__(self) -> None:
        super().__init__()
        self.tower_out = build_teacher(LAYOUT, 1, TeacherConfig(tower=2)).tower_out

    def hidden(self, ids_NC: Tensor) -> Tensor:
        return ids_NC.float().unsqueeze(0)


def test_laplace_of_a_linear_model_is_its_closed_form() -> None:
    """The covariance is (X' diag(p (1 - p)) X + precision)^-1 over the rows with a label."""
    torch.manual_seed(0)
    net = Linear()
    ids_NC = torch.randint(0, 5, (300, 2))
    targets_NT = torch.randint(0, 2, (300, 1)).float()
    targets_NT[200:] = float("nan")
    covariance_dd = posterior_covariance(net, ids_NC, targets_NT)[0].numpy()
    x = np.concatenate([ids_NC[:200].numpy(), np.ones((200, 1))], axis=1)
    w = torch.cat([net.tower_out.weight_EIO, net.tower_out.bias_E1O], 1).flatten().detach().numpy()
    p = 1 / (1 + np.exp(-x @ w))
    newton = x.T @ (x * (p * (1 - p))[:, None])
    precision = best_precision(torch.from_numpy(newton), torch.from_numpy(w).double()).item()
    np.testing.assert_allclose(
        covariance_dd, np.linalg.inv(newton + precision * np.eye(3)), rtol=1e-3, atol=1e-7
    )


def test_count_falls_with_the_counts_of_a_requests_ids(lab: Lab) -> None:
    """Ids that training rows hold often make a request sure, ids never seen do not."""
    rows = Rows(np.array([[0, 12], [0, 13]], np.int32), np.array([[1.0], [np.nan]], np.float32))
    counts_RT = pseudo_counts(rows, np.full((2, 1), 0.5, np.float32), 38)
    assert counts_RT[[0, 12, 13, 5], 0].tolist() == [0.25, 0.25, 0.0, 0.0]
    spread = METHODS["count"](lab).spread
    seen_1C, unseen_1C = lab.rows.ids_NC[:1], lab.rows.ids_NC[:1].copy()
    unseen_1C[0, :2] = 36, 37
    same_1T = np.full((1, 2), 0.3, np.float32)
    assert (spread(unseen_1C, same_1T) > spread(seen_1C, same_1T)).all()
