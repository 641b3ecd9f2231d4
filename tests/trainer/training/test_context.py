from pathlib import Path

import torch

from trainer.training.checkpoint import Checkpoint
from trainer.training.context import FitContext
from trainer.training.devices import ONE_CPU, Devices


def test_a_context_names_the_saved_state_of_every_fit(tmp_path: Path) -> None:
    """Each fit has a file of its own in the checkpoint; without a checkpoint, none has."""
    checkpoint = Checkpoint(tmp_path / "c", {"seed": 1})
    context = FitContext(1, checkpoint=checkpoint)
    for name in ("teacher", "student"):
        state = context.state(name)
        assert state is not None
        assert state.path == tmp_path / "c" / f"{name}.safetensors"
    assert context.without_checkpoint().state("teacher") is None


def test_a_context_on_the_cpu_keeps_seed_and_bars_only(tmp_path: Path) -> None:
    """Nets beside the teacher neither exchange gradients nor write to its checkpoint."""
    devices = Devices(torch.device("cpu"), rank=1, count=2)
    context = FitContext(7, devices=devices, checkpoint=Checkpoint(tmp_path / "c", {}))
    local = context.on_cpu()
    assert (local.seed, local.progress) == (7, context.progress)
    assert (local.devices, local.checkpoint) == (ONE_CPU, None)


def test_another_seed_changes_nothing_else() -> None:
    """Bars, devices and checkpoint stay."""
    context = FitContext(7)
    assert context.with_seed(8) == FitContext(8, context.progress)
