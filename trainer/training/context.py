"""What all fits of one training share: seed, progress bars, devices and checkpoint."""

from dataclasses import dataclass, field, replace
from typing import Self

from rich.progress import Progress

from trainer.training.checkpoint import Checkpoint, StateFile
from trainer.training.devices import ONE_CPU, Devices
from trainer.training.objective.funnel import Funnel


@dataclass(frozen=True, slots=True)
class FitContext:
    """Passed to everything that fits, labels or compares nets.

    Attributes:
        seed: Seed of everything random that does not come from torch's generator.
        progress: Progress display; none by default.
        devices: Devices for training.
        checkpoint: Checkpoint that the state of every fit is saved to; None saves nothing.
        funnel: Order of the tasks, for objectives that compare them.
    """

    seed: int = 0
    progress: Progress = field(default_factory=lambda: Progress(disable=True))
    devices: Devices = ONE_CPU
    checkpoint: Checkpoint | None = None
    funnel: Funnel = Funnel()

    def state(self, name: str) -> StateFile | None:
        """The saved state of the fit called ``name``; None without a checkpoint."""
        return None if self.checkpoint is None else self.checkpoint.state(name)

    def with_seed(self, seed: int) -> Self:
        """The same context with another seed."""
        return replace(self, seed=seed)

    def without_checkpoint(self) -> Self:
        """The same context, but nothing is saved or resumed."""
        return replace(self, checkpoint=None)

    def on_cpu(self) -> Self:
        """The same seed and bars on one CPU, in this process alone, without a checkpoint."""
        return replace(self, devices=ONE_CPU, checkpoint=None)
