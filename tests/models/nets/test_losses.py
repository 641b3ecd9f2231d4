import numpy as np
import pytest
import torch

from models.data.examples import Examples
from models.nets.losses import TaskWeights, bce_by_task, masked_bce, poisson_deviance
from models.tasks import Task, TaskSet

TASKS = TaskSet(
    [Task(name="click", window_s=60), Task(name="online", population="click", window_s=60)]
)
NAN = float("nan")


def targets(labels: list[list[float]]) -> torch.Tensor:
    labels_NT = np.array(labels, np.float32)
    count = len(labels)
    rows = Examples(
        ts_N=np.zeros(count, np.int64),
        features_NC=np.zeros((count, 1), np.int32),
        labels_NT=labels_NT,
        propensity_N=np.ones(count),
    )
    return torch.from_numpy(rows.targets(TASKS))


def test_masked_and_outside_rows_have_no_gradient() -> None:
    """Immature labels and rows outside the population leave loss and gradient untouched."""
    logits_NT = torch.tensor([[0.3, -0.2], [1.0, 5.0], [-2.0, 7.0], [0.5, 9.0]], requires_grad=True)
    targets_NT = targets([[1, 1], [0, 0], [NAN, NAN], [1, NAN]])
    loss = masked_bce(logits_NT, targets_NT)
    loss.backward()
    gradient = logits_NT.grad
    assert gradient is not None
    # online counts only in row 0: clicked and mature; row 1 is outside, 2 and 3 are masked
    np.testing.assert_array_equal(
        (gradient != 0).numpy(), [[True, True], [True, False], [False, False], [True, False]]
    )
    clicks = torch.sigmoid(torch.tensor([0.3, 1.0, 0.5]))
    click_loss = -(clicks[0].log() + (1 - clicks[1]).log() + clicks[2].log()) / 3
    online_loss = -torch.sigmoid(torch.tensor(-0.2)).log()
    assert loss.item() == pytest.approx((click_loss + online_loss).item(), abs=1e-6)


def test_a_task_without_rows_contributes_nothing() -> None:
    """A batch in which a task is masked throughout has a finite loss of the other tasks only."""
    logits_NT = torch.tensor([[0.3, 100.0], [0.1, -100.0]])
    both = masked_bce(logits_NT, torch.tensor([[1.0, NAN], [0.0, NAN]]))
    alone = masked_bce(logits_NT[:, :1], torch.tensor([[1.0], [0.0]]))
    assert both.item() == alone.item()


def test_task_weights_scale_each_task() -> None:
    """The loss is linear in the task weights."""
    logits_NT, targets_NT = torch.randn(6, 2), torch.rand(6, 2)
    parts = [
        TaskWeights(torch.tensor(weights))(bce_by_task(logits_NT, targets_NT)).item()
        for weights in ([1.0, 0.0], [0.0, 1.0], [2.0, 3.0])
    ]
    assert parts[2] == pytest.approx(2 * parts[0] + 3 * parts[1], rel=1e-6)


def test_poisson_deviance_is_least_at_the_mean() -> None:
    """The best constant prediction of a positive quantity is its mean, whatever its scale."""
    for scale in (1e-3, 1.0, 50.0):
        targets_NT = torch.tensor([[1.0], [2.0], [6.0]]) * scale
        losses = {
            factor: poisson_deviance(torch.full((3, 1), 3.0 * scale * factor), targets_NT).item()
            for factor in (0.9, 1.0, 1.1)
        }
        assert losses[1.0] < losses[0.9]
        assert losses[1.0] < losses[1.1]
