from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models.nets.losses import masked_bce
from models.nets.swag import SwagPosterior
from trainer.training import loop as fitting
from trainer.training.checkpoint import Checkpoint, CheckpointError
from trainer.training.context import FitContext
from trainer.training.loop import batches_from, cosine, deterministic, epoch_batches, run_steps

ROWS, BATCH, STEPS = 70, 16, 24


class ProcessEndsError(Exception):
    """The process ends here."""


def fit(checkpoint: Checkpoint | None = None, stop_at: int | None = None) -> tuple[Tensor, ...]:
    """Steps of a net with dropout, and snapshots; all that came of them."""
    with deterministic(1, 3):
        net = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.3), nn.ReLU(), nn.Linear(8, 2))
        x_NI = torch.randn(ROWS, 4)
        targets_NT = (torch.rand(ROWS, 2) < 0.4).float()
        posterior = SwagPosterior(rank=3)

        def after_step(taken: int) -> None:
            if taken % 4 == 0:
                posterior.collect(dict(net.named_parameters()))
            if taken == stop_at:
                raise ProcessEndsError

        run_steps(
            net,
            rows=ROWS,
            batch=BATCH,
            steps=STEPS,
            learning_rate=lambda step: cosine(step, STEPS, 1e-2, 1e-3),
            loss=lambda rows, _step: masked_bce(net(x_NI[rows]), targets_NT[rows]),
            after_step=after_step,
            weight_decay=0.1,
            name="net",
            context=FitContext(checkpoint=checkpoint),
            extra_state=posterior,
        )
        (sample,) = posterior.sample(1, seed=0)
        return (*net.state_dict().values(), *sample.values(), torch.rand(3))


@settings(max_examples=25, deadline=None)
@given(stop_at=st.integers(1, STEPS), every=st.integers(1, 9), again=st.integers(1, STEPS))
def test_an_interrupted_fit_goes_on_bit_for_bit(
    stop_at: int, every: int, again: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Stopped twice at any steps, saved at some before, the fit ends as if nothing had happened."""
    folder = tmp_path_factory.mktemp("fit")
    ticks: Iterator[int] = iter(range(10_000))

    def checkpoint() -> Checkpoint:
        return Checkpoint(folder, {}, every_s=every, clock=lambda: next(ticks))

    for stop in (stop_at, again):
        try:
            fit(checkpoint(), stop)
        except ProcessEndsError:
            continue
    resumed = fit(checkpoint())
    for found, wanted in zip(resumed, fit(), strict=True):
        assert torch.equal(found, wanted)


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    """A file that is not whole names itself and the way out."""
    path = tmp_path / "net.safetensors"
    fit(Checkpoint(tmp_path, {}))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="remove it to start over"):
        fit(Checkpoint(tmp_path, {}))


@pytest.mark.parametrize("rows", [1, 15, 16, 100, 257])
def test_an_epoch_sees_every_row_once(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Full batches hold each row at most once and leave less than a batch out."""
    monkeypatch.setattr(fitting, "BLOCK", 4)
    monkeypatch.setattr(fitting, "WINDOW", 5)
    batches = list(epoch_batches(rows, 16, seed=1, epoch=0))
    seen = torch.cat(batches).tolist()
    assert len(set(seen)) == len(seen) == (rows if rows < 16 else rows // 16 * 16)
    assert set(seen) <= set(range(rows))


def test_an_epoch_needs_one_window_of_the_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows come from one window of whole blocks, then from the next, shuffled inside."""
    monkeypatch.setattr(fitting, "BLOCK", 4)
    monkeypatch.setattr(fitting, "WINDOW", 5)
    order_N = torch.cat(list(epoch_batches(100, 20, seed=1, epoch=0)))
    for window_N in torch.split(order_N, 20):
        assert len(set((window_N // 4).tolist())) == 5
        assert window_N.tolist() != sorted(window_N.tolist())


def test_order_depends_on_seed_and_epoch_alone() -> None:
    """The same seed and epoch give the same order, any other one another; a later step joins in."""
    orders = [
        torch.cat(list(epoch_batches(100, 10, seed, epoch))).tolist()
        for seed, epoch in ((0, 0), (0, 1), (1, 0), (0, 0))
    ]
    assert orders[0] == orders[3]
    assert len({tuple(order) for order in orders}) == 3
    begun = list(islice(batches_from(0, 100, 10, seed=0), 35))
    late = list(islice(batches_from(17, 100, 10, seed=0), 18))
    assert all(torch.equal(*pair) for pair in zip(begun[17:], late, strict=True))


def test_the_learning_rate_decays_and_stays() -> None:
    """Cosine from start to end, then constant for the snapshots."""
    rates = [cosine(step, 10, 1.0, 0.1) for step in range(15)]
    assert rates[0] == 1.0
    assert rates == sorted(rates, reverse=True)
    assert rates[10:] == [pytest.approx(0.1)] * 5
