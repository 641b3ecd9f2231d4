"""Devices of a training: one CPU or GPU, or several processes that `torchrun` starts.

Training is data parallel: every process holds the whole net and computes on its share of every
batch. Gradients are averaged before each step, so all processes take the same steps. A single
process exchanges nothing.

B rows of a batch, T tasks.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, distributed, nn

from models.errors import UserError
from trainer.training.config import Choice


class DeviceError(UserError, RuntimeError):
    """A device that does not exist, or a batch that does not divide among the processes."""


@dataclass(frozen=True, slots=True)
class Devices:
    """This process's device, and its rank among the processes of the training.

    Attributes:
        device: Device of this process.
        rank: Rank of this process; rank 0 writes files and shows progress.
        count: Number of processes (the world size).
    """

    device: torch.device = torch.device("cpu")
    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def put(self, tensor: Tensor) -> Tensor:
        """The tensor on this process's device."""
        return tensor.to(self.device, non_blocking=True)

    def autocast(self) -> torch.autocast:
        """Mixed precision: bfloat16 on CUDA, where it is faster; none on a CPU."""
        cuda = self.device.type == "cuda"
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=cuda)

    def share(self, rows_B: Tensor) -> Tensor:
        """This process's rows of a batch.

        Raises:
            DeviceError: If the batch does not divide evenly: rows would get unequal weights.
        """
        if len(rows_B) % self.count:
            raise DeviceError(
                f"a batch of {len(rows_B)} rows does not divide among {self.count} processes; "
                "choose another batch or number of processes"
            )
        return rows_B[self.rank :: self.count]

    def weights(self, targets_BT: Tensor, weights_B: Tensor | None = None) -> Tensor:
        """Weights per task that turn the processes' masked losses into the loss of the whole batch.

        A masked loss is a mean over the rows whose target is known, and the number of these rows
        differs between processes.

        Args:
            targets_BT: This process's targets; NaN where masked.
            weights_B: Number of requests that each row represents; None for one each.
        """
        known_BT = ~targets_BT.isnan()
        own_T = (
            (known_BT if weights_B is None else known_BT * weights_B.unsqueeze(1)).sum(0).float()
        )
        if self.count == 1:
            return torch.ones_like(own_T)
        all_T = own_T.clone()
        distributed.all_reduce(all_T)
        return self.count * own_T / all_T.clamp(min=1)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over all processes, in one exchange."""
        if self.count == 1:
            return
        gradients = [weight.grad for weight in parameters if weight.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        flat /= self.count
        pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))

    def gather(self, own: Tensor) -> list[Tensor]:
        """The tensors of all processes in order of rank, on the CPU; all have one shape."""
        if self.count == 1:
            return [own.cpu()]
        parts = [torch.empty_like(own, device=self.device) for _ in range(self.count)]
        distributed.all_gather(parts, self.put(own).contiguous())
        return [part.cpu() for part in parts]


ONE_CPU: Final = Devices()
"""One process on a CPU."""


@contextmanager
def open_devices(choice: Choice) -> Iterator[Devices]:
    """Select this process's device; under `torchrun`, join its process group too.

    Args:
        choice: "auto" selects CUDA when it is available.

    Raises:
        DeviceError: If CUDA is required and not available.
    """
    count, local = (int(os.environ.get(name, low)) for name, low in _PLACE)
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if choice == "cuda" and found <= local:
        raise DeviceError(
            f'device = "cuda": process {local} needs CUDA device {local}, {found} found; '
            'choose "cpu" or start fewer processes'
        )
    cuda = found > local and choice != "cpu"
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    if count == 1:
        yield Devices(device)
        return
    distributed.init_process_group("nccl" if cuda else "gloo")
    try:
        yield Devices(device, distributed.get_rank(), count)
    finally:
        distributed.destroy_process_group()


_PLACE = (("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
