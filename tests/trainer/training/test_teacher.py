import torch

from models.nets.embedding import FeatureLayout
from models.nets.weight_sets import Weights
from tests.trainer.small_world import CONFIG, SPEC, TASKS, frame
from trainer.training.context import FitContext
from trainer.training.loop import deterministic
from trainer.training.teacher import Teacher, fit_teacher


def fitted(weights_N: torch.Tensor | None = None) -> Teacher:
    rows = frame(600, seed=1)
    labels = [rows[f"label_{task}"].cast(float).to_list() for task in TASKS.names]
    targets_NT = torch.tensor([[float("nan") if v is None else v for v in row] for row in labels]).T
    with deterministic(1, 5):
        return fit_teacher(
            FeatureLayout.of(SPEC),
            torch.tensor(rows["features"].to_list(), dtype=torch.int32),
            targets_NT.float().contiguous(),
            config=CONFIG.net,
            training=CONFIG.teacher,
            context=FitContext(5),
            weights_N=weights_N,
        )


def same(one: list[Weights], other: list[Weights]) -> bool:
    return all(
        torch.equal(weight, sets[name])
        for weights, sets in zip(one, other, strict=True)
        for name, weight in weights.items()
    )


def test_other_sets_follow_from_the_number() -> None:
    """As many of them, the same ones for the same number; nothing else of the teacher changes."""
    teacher = fitted()
    first, second = teacher.redrawn(0), teacher.redrawn(1)
    assert len(first.samples) == len(teacher.samples) == CONFIG.teacher.samples
    assert same(first.samples, teacher.redrawn(0).samples)
    assert not same(first.samples, second.samples)
    assert not same(first.samples, teacher.samples)
    ids_NC = torch.tensor(frame(50, seed=2)["features"].to_list(), dtype=torch.int32)
    (mean_NT, std_NT), (other_NT, other_std_NT) = first.predict(ids_NC), second.predict(ids_NC)
    assert not torch.equal(std_NT, other_std_NT)
    assert (mean_NT - other_NT).abs().max() < 3 * std_NT.max()
    torch.testing.assert_close(teacher.net(ids_NC), first.net(ids_NC))


def test_rows_that_stand_for_many_requests_weigh_as_many() -> None:
    """Where the clicked rows stand for three requests each, clicks are predicted more often."""
    rows = frame(600, seed=1)
    ids_NC = torch.tensor(rows["features"].to_list(), dtype=torch.int32)
    clicked_N = torch.tensor(rows["label_click"].cast(float).to_list())
    even = fitted().predict(ids_NC)[0][:, 0].mean()
    same_for_all = fitted(torch.full((600,), 2.0)).predict(ids_NC)[0][:, 0].mean()
    more = fitted(1 + 2 * clicked_N).predict(ids_NC)[0][:, 0].mean()
    torch.testing.assert_close(same_for_all, even, atol=1e-3, rtol=0)
    assert more > even + 0.005  # as far as so few steps go; without weights it moves by 0.0005
