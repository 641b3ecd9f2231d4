"""What fitting the teacher and fitting the student share: batches, schedule, determinism, resuming.

N rows, B rows of a batch.
"""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count, islice
from typing import Final, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW

from trainer.training.checkpoint import State, StateFile, named, under
from trainer.training.devices import Devices

ONE_CPU: Final = Devices()
BLOCK: Final = 256
"""Consecutive rows that stay together until they are in memory."""
WINDOW: Final = 4096
"""Blocks whose rows are shuffled together: up to 1,048,576 rows, all rows are."""


class Stateful(Protocol):
    """What steps change besides net and optimizer."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """All of it."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Be as the one that gave this state."""


@contextmanager
def deterministic(threads: int, seed: int, devices: Devices = ONE_CPU) -> Iterator[None]:
    """Run with torch's deterministic algorithms, stated threads and seed; then as before.

    The same seed and number of threads give the same weights on the same kind of machine; on
    another one the order of sums may differ, and with it the last digits.
    """
    threads_before = torch.get_num_threads()
    algorithms_before = torch.are_deterministic_algorithms_enabled()
    cuda = [devices.device] if devices.device.type == "cuda" else []
    # cuBLAS is deterministic only with a workspace of fixed size, read when it starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=True)
    try:
        with torch.random.fork_rng(devices=cuda):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads_before)
        torch.use_deterministic_algorithms(mode=algorithms_before)


def cosine(step: int, steps: int, start: float, end: float) -> float:
    """Learning rate at ``step`` of ``steps``, from ``start`` down to ``end``, then constant."""
    progress = min(step / max(steps, 1), 1.0)
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def run_steps(
    net: nn.Module,
    *,
    rows: int,
    batch: int,
    steps: int,
    learning_rate: Callable[[int], float],
    loss: Callable[[Tensor], Tensor],
    after_step: Callable[[int], None],
    enough: Callable[[int], bool] = lambda _: False,
    weight_decay: float = 0.0,
    devices: Devices = ONE_CPU,
    saved: StateFile | None = None,
    besides: Stateful | None = None,
) -> None:
    """Take AdamW steps over rows in an order shuffled anew every epoch.

    Args:
        net: What is trained, in place.
        rows: Number of rows; a last batch that is not full is left out of its epoch.
        batch: Rows per step, over all devices.
        steps: Steps at most.
        learning_rate: Rate of a step.
        loss: Loss of the rows with these indices, a mean over them.
        after_step: Called with the number of steps taken so far.
        enough: Called with the same after it; whether no more steps are needed.
        weight_decay: AdamW's.
        devices: Where the steps are computed; every process has the same net.
        saved: Where the steps go on if something was saved, and are saved now and then.
        besides: What ``after_step`` changes and the next steps depend on.

    Raises:
        CheckpointError: If what was saved is damaged.
        DeviceError: If a batch does not divide among the devices.
    """
    fit = _Fit(net, AdamW(net.parameters(), weight_decay=weight_decay, fused=True), besides)
    fit.restore(saved.load() if saved else None)
    net.train()
    batches = batches_from(fit.step, rows, batch, fit.order_seed)
    for step in range(fit.step, steps):
        for group in fit.optimizer.param_groups:
            group["lr"] = learning_rate(step)
        fit.optimizer.zero_grad()
        with devices.autocast():
            value = loss(devices.share(next(batches)))
        value.backward()  # type: ignore[no-untyped-call]
        devices.average_gradients(net.parameters())
        fit.optimizer.step()
        fit.step = step + 1
        after_step(fit.step)
        if saved and (saved.due or fit.step == steps):
            saved.save(fit.state())
        if enough(fit.step):
            break
    net.eval()


class _Fit:
    """All that the next step depends on."""

    def __init__(self, net: nn.Module, optimizer: AdamW, besides: Stateful | None) -> None:
        self.net = net
        self.optimizer = optimizer
        self.besides = besides
        self.step = 0
        self.order_seed = int(torch.randint(2**62, (1,)))

    def state(self) -> State:
        slots = self.optimizer.state_dict()["state"]
        return {
            "step": torch.tensor(self.step),
            "order_seed": torch.tensor(self.order_seed),
            "rng": torch.get_rng_state(),
            **({"rng_cuda": torch.cuda.get_rng_state()} if self._cuda else {}),
            **named("net", self.net.state_dict()),
            **{f"optimizer.{n}.{key}": t for n, slot in slots.items() for key, t in slot.items()},
            **named("besides", self.besides.state_dict() if self.besides else {}),
        }

    def restore(self, state: State | None) -> None:
        if state is None:
            return
        self.step, self.order_seed = int(state["step"]), int(state["order_seed"])
        torch.set_rng_state(state["rng"])
        if self._cuda:
            torch.cuda.set_rng_state(state["rng_cuda"])
        self.net.load_state_dict(under("net", state))
        flat = under("optimizer", state)
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in flat.items():
            number, _, key = name.partition(".")
            slots.setdefault(int(number), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        if self.besides:
            self.besides.load_state_dict(under("besides", state))

    @property
    def _cuda(self) -> bool:
        return next(self.net.parameters()).is_cuda


def batches_from(step: int, rows: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Row indices of the batches of step ``step`` and all after it, without an end."""
    epoch, within = divmod(step, steps_per_epoch(rows, batch))
    for number in count(epoch):
        yield from islice(epoch_batches(rows, batch, seed, number), within, None)
        within = 0


def epoch_batches(rows: int, batch: int, seed: int, epoch: int) -> Iterator[Tensor]:
    """Row indices of one epoch's full batches; all rows at once if they are fewer than a batch.

    Blocks of consecutive rows are shuffled, then all rows of a window of blocks. So only a window
    of the rows need be in memory at a time, and its blocks are read from the disk in one piece.
    The order depends on nothing but the arguments.
    """
    mixed = np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(mixed[0] >> 1))
    batch = min(batch, rows)
    rest_N = torch.arange(0)
    blocks = torch.randperm(math.ceil(rows / BLOCK), generator=generator)
    for window in torch.split(blocks, WINDOW):
        rows_N = (window.unsqueeze(1) * BLOCK + torch.arange(BLOCK)).flatten()
        rows_N = rows_N[rows_N < rows]
        rows_N = rows_N[torch.randperm(len(rows_N), generator=generator)]
        rest_N = torch.cat([rest_N, rows_N])
        full = len(rest_N) // batch * batch
        yield from torch.split(rest_N[:full], batch)
        rest_N = rest_N[full:]


def steps_per_epoch(rows: int, batch: int) -> int:
    """Full batches in an epoch, at least one."""
    return max(rows // batch, 1)
