"""The teacher's weights, from one training to the next."""

from pathlib import Path

import pytest
import torch
from torch import nn

from trainer.training.warm_start import keep_weights, start_from

IDENTITY = {"spec": "abc", "tasks": "click"}


def net(seed: int, wide: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, wide), nn.Linear(wide, 1))


def same(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_a_net_starts_from_the_weights_that_were_kept(tmp_path: Path) -> None:
    """All of them; keeping others replaces them."""
    path, first, second = tmp_path / "store" / "teacher.safetensors", net(0), net(1)
    keep_weights(path, net(2), IDENTITY)
    keep_weights(path, first, IDENTITY)
    assert not same(first, second)
    assert start_from(path, second, IDENTITY)
    assert same(first, second)


@pytest.mark.parametrize(
    ("content", "identity", "wide", "message"),
    [
        (None, IDENTITY, 3, "not there yet"),
        (b"no tensors", IDENTITY, 3, "starts from scratch"),
        (b"", {"spec": "other", "tasks": "click"}, 3, "spec changed"),
        (b"", IDENTITY, 4, "0.weight does not fit"),
    ],
)
def test_weights_that_do_not_fit_are_left(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    content: bytes | None,
    identity: dict[str, str],
    wide: int,
    message: str,
) -> None:
    """The log says why, and the net stays as it is."""
    caplog.set_level("INFO", logger="trainer")
    path = tmp_path / "teacher.safetensors"
    if content is not None:
        keep_weights(path, net(0), IDENTITY)
    if content:
        path.write_bytes(content)
    ours = net(1, wide)
    assert not start_from(path, ours, identity)
    assert same(ours, net(1, wide))
    assert message in caplog.text


def test_weights_that_are_not_finite_are_left(tmp_path: Path) -> None:
    """A teacher that diverged is no start."""
    broken = net(0)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    keep_weights(tmp_path / "teacher.safetensors", broken, IDENTITY)
    assert not start_from(tmp_path / "teacher.safetensors", net(1), IDENTITY)
