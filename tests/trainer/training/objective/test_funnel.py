import torch

from models.tasks import DEFAULT_TASKS
from trainer.training.objective.funnel import Funnel

FUNNEL = Funnel.of(DEFAULT_TASKS)
NAN = float("nan")


def test_the_default_funnel() -> None:
    """Online is learned on clicks; cart and deal are over all requests, after click and cart."""
    assert FUNNEL.populations == (None, 0, None, None)
    assert [FUNNEL.before(task) for task in range(4)] == [None, 0, 0, 2]
    assert [Funnel().before(task) for task in range(3)] == [None, 0, 1]


def test_probabilities_over_all_requests_are_products_with_the_population() -> None:
    """As `TaskSet.on_all_requests` gives them, with gradients; chains of populations too."""
    scores_NT = torch.rand(50, 4, requires_grad=True)
    expected = torch.from_numpy(DEFAULT_TASKS.on_all_requests(scores_NT.detach().numpy()))
    torch.testing.assert_close(FUNNEL.on_all(scores_NT), expected)
    chain_N3 = Funnel((None, 0, 1)).on_all(torch.full((2, 3), 0.5))
    torch.testing.assert_close(chain_N3, torch.tensor([[0.5, 0.25, 0.125]] * 2))


def test_labels_over_all_requests() -> None:
    """No click is no online; a click of an open label, or an unknown click, stays unknown."""
    targets_NT = torch.tensor(
        [[0, NAN, 0, 0], [1, 1, 0, 0], [1, 0, 1, NAN], [1, NAN, 0, 0], [NAN, NAN, NAN, 0]]
    )
    expected = torch.tensor([0.0, 1.0, 0.0, NAN, NAN])
    labels_NT = FUNNEL.labels_on_all(targets_NT)
    torch.testing.assert_close(labels_NT[:, 1], expected, equal_nan=True)
    others = [0, 2, 3]
    torch.testing.assert_close(labels_NT[:, others], targets_NT[:, others], equal_nan=True)
