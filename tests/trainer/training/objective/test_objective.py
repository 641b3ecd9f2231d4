from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.nets.config import KINDS, TeacherConfig
from models.nets.heads import EVIDENTIAL, GAUSSIAN, LOGIT, Head
from models.nets.losses import bce_by_task
from models.nets.teacher import TeacherNet, build_teacher
from tests.trainer.uncertainty.tiny_funnel import LAYOUT
from trainer.training.config import OBJECTIVE_OF_KIND, OBJECTIVES
from trainer.training.objective.funnel import Funnel
from trainer.training.objective.objective import Batch, make_objective

FUNNEL = Funnel((None, 0, None))
NET = TeacherConfig(embedding=4, expert=8, tower=4)
ROWS = 400


@pytest.fixture
def net() -> TeacherNet:
    torch.manual_seed(0)
    return build_teacher(LAYOUT, 3, NET)


def batch_of(head: Head = LOGIT, weights_B: Tensor | None = None) -> Batch:
    """Random outputs and labels: the second task's on rows with the first, some not known yet."""
    generator = torch.Generator().manual_seed(1)
    ids_BC = torch.randint(0, 12, (ROWS, 4), generator=generator) + torch.tensor([0, 12, 24, 24])
    outputs_BTO = torch.randn(ROWS, 3, head.size, generator=generator).requires_grad_()
    labels_BT = (torch.rand(ROWS, 3, generator=generator) < 0.4).float()
    labels_BT[labels_BT[:, 0] == 0, 1] = torch.nan
    labels_BT[labels_BT[:, 0] == 0, 2] = 0
    labels_BT[torch.rand(ROWS, 3, generator=generator) < 0.1] = torch.nan
    losses_T = head.losses(outputs_BTO, labels_BT, 1.0, weights_B)
    return Batch(ids_BC, outputs_BTO, labels_BT, weights_B, losses_T, head, FUNNEL)


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("head", [LOGIT, GAUSSIAN, EVIDENTIAL])
@pytest.mark.parametrize("weighted", [False, True])
def test_every_objective_has_a_finite_loss_per_task(
    net: TeacherNet, name: str, head: Head, weighted: bool
) -> None:
    """With every head; every output of a known label has a gradient, and rows of weight 0 none."""
    weights_B = torch.arange(ROWS) % 2.0 if weighted else None
    batch = batch_of(head, weights_B)
    losses_T = make_objective(name, net, 3)(batch)
    assert losses_T.shape == (3,)
    assert losses_T.isfinite().all()
    losses_T.sum().backward()
    gradient_BTO = batch.outputs_BTO.grad
    assert gradient_BTO is not None
    assert gradient_BTO.isfinite().all()
    known_B = ~batch.targets_BT[:, 0].isnan()
    assert (gradient_BTO[known_B, 0].abs().sum(1) > 0).float().mean() > (0.45 if weighted else 0.95)
    if weighted:
        assert not gradient_BTO[::2].any()


def test_the_names_of_kinds_and_objectives_fit(net: TeacherNet) -> None:
    """``auto`` is the objective of the kind's paper, and the masked one without any."""
    assert set(OBJECTIVE_OF_KIND) <= set(KINDS)
    for kind in KINDS:
        made = build_teacher(LAYOUT, 3, replace(NET, kind=kind, scenario=("one",)))
        expected = make_objective(OBJECTIVE_OF_KIND.get(kind, "masked"), net, 3)
        assert type(make_objective("auto", made, 3)) is type(expected), kind


def test_entire_space_is_esmm_s_sum(net: TeacherNet) -> None:
    """Online's loss is that of p(click) p(online | click) on all requests; others are as before."""
    batch = batch_of()
    losses_T = make_objective("entire-space", net, 3)(batch)
    probabilities_BT = batch.outputs_BTO[:, :, 0].sigmoid()
    click_B, online_B = batch.targets_BT[:, 0], batch.targets_BT[:, 1]
    label_B = torch.where(click_B == 0, 0.0, online_B)
    known_B = ~(click_B.isnan() | label_B.isnan())
    expected = functional.binary_cross_entropy(
        (probabilities_BT[:, 0] * probabilities_BT[:, 1])[known_B], label_B[known_B]
    )
    torch.testing.assert_close(losses_T[1], expected)
    plain_T = bce_by_task(batch.outputs_BTO[:, :, 0], batch.targets_BT)
    torch.testing.assert_close(losses_T[[0, 2]], plain_T[[0, 2]])


def test_dependence_is_equation_21_with_the_squared_error_of_23(net: TeacherNet) -> None:
    """Each task adds the squared error of its difference to the one before; the first adds none."""
    batch = batch_of()
    added_T = make_objective("dependence", net, 3)(batch) - batch.losses_T
    p_BT = FUNNEL.on_all(batch.outputs_BTO[:, :, 0].sigmoid())
    y_BT = FUNNEL.labels_on_all(batch.targets_BT)
    expected = [0.0]
    for task in (1, 2):
        error_B = (p_BT[:, 0] - p_BT[:, task]) - (y_BT[:, 0] - y_BT[:, task])
        expected.append(error_B[~error_B.isnan()].square().mean().item())
    torch.testing.assert_close(added_T, torch.tensor(expected))


def test_the_calibrator_charges_only_what_is_above_the_step_before(net: TeacherNet) -> None:
    """A nested funnel costs nothing; a deal above its click costs the excess."""
    batch = batch_of()
    nested = torch.tensor([2.0, 1.0, -2.0]).expand(ROWS, 3).unsqueeze(2)
    quiet = replace_outputs(batch, nested)
    torch.testing.assert_close(make_objective("calibrator", net, 3)(quiet), quiet.losses_T)
    excess = replace_outputs(batch, torch.tensor([0.0, 0.0, 1.0]).expand(ROWS, 3).unsqueeze(2))
    added_T = make_objective("calibrator", net, 3)(excess) - excess.losses_T
    above = float(torch.tensor(1.0).sigmoid()) - 0.5
    torch.testing.assert_close(added_T, torch.tensor([0.0, 0.0, 0.6 * above]))


def replace_outputs(batch: Batch, outputs_BTO: Tensor) -> Batch:
    losses_T = LOGIT.losses(outputs_BTO, batch.targets_BT, 1.0)
    return replace(batch, outputs_BTO=outputs_BTO, losses_T=losses_T)


@pytest.mark.parametrize("name", ["counterfactual-ips", "counterfactual-dr"])
def test_counterfactual_risks_are_unbiased(net: TeacherNet, name: str) -> None:
    """Over many draws of clicks by their true propensity, the risk's mean is that of all requests.

    Even with an imputation that knows nothing; the naive loss of clicked requests is far off.
    """
    rng = np.random.default_rng(3)
    rows = 200_000
    hidden = rng.random(rows) < 0.5  # more clicks, and more errors
    click_p = np.where(hidden, 0.6, 0.1)
    clicks = rng.random(rows) < click_p
    label = (rng.random(rows) < np.where(hidden, 0.7, 0.2)).astype(np.float32)
    click_logit = np.log(click_p / (1 - click_p))
    outputs_BTO = torch.zeros(rows, 3, 1)
    outputs_BTO[:, 0, 0] = torch.from_numpy(click_logit).float()
    outputs_BTO[:, 1, 0] = -1.0
    targets_BT = torch.zeros(rows, 3)
    targets_BT[:, 0] = torch.from_numpy(clicks.astype(np.float32))
    targets_BT[:, 1] = torch.from_numpy(np.where(clicks, label, np.nan).astype(np.float32))
    ids_BC = torch.tensor([[0, 12, 24, 24]]).expand(rows, 4)
    batch = Batch(ids_BC, outputs_BTO, targets_BT, None, torch.zeros(3), LOGIT, Funnel((None, 0)))
    objective = make_objective(name, net, 3)
    constant(getattr(objective, "imputation", None))
    risk = objective.risk(batch, 0, 1) if name.endswith("ips") else robust_only(objective, batch)
    truth = functional.binary_cross_entropy_with_logits(
        outputs_BTO[:, 1, 0], torch.from_numpy(label)
    )
    naive = functional.binary_cross_entropy_with_logits(
        outputs_BTO[clicks, 1, 0], torch.from_numpy(label[clicks])
    )
    assert risk.item() == pytest.approx(float(truth), rel=0.02)
    assert abs(float(naive) - float(truth)) > 0.1


def constant(imputation: torch.nn.Module | None) -> None:
    if imputation is not None:
        with torch.no_grad():
            for weight in imputation.parameters():
                weight.zero_()


def robust_only(objective: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
    """The doubly robust risk without the imputation's own loss."""
    imputed = float(functional.softplus(torch.tensor(0.0)))
    errors_B = functional.binary_cross_entropy_with_logits(
        batch.outputs_BTO[:, 1, 0], batch.targets_BT[:, 1].nan_to_num(), reduction="none"
    )
    propensity_B = batch.outputs_BTO[:, 0, 0].sigmoid()
    fit_B = batch.targets_BT[:, 0] * (errors_B - imputed).square() / propensity_B
    return objective.risk(batch, 0, 1) - fit_B.mean()  # type: ignore[attr-defined]
