"""The training loop of teacher and student: batches, learning rate, determinism, resuming.

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

from trainer.training.checkpoint import State, with_prefix, without_prefix
from trainer.training.context import FitContext
from trainer.training.devices import ONE_CPU, Devices

BLOCK: Final = 256
"""Consecutive rows that are read from the disk together."""
WINDOW: Final = 4096
"""Blocks whose rows are shuffled together: 1,048,576 rows."""
EXTRA_STATE: Final = "besides"
"""Prefix of the extra state in a saved state; files of earlier versions have it."""


class Stateful(Protocol):
    """State that the steps change in addition to net and optimizer."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """The whole state."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state that :meth:`state_dict` returned."""


@contextmanager
def deterministic(threads: int, seed: int, devices: Devices = ONE_CPU) -> Iterator[None]:
    """Run with torch's deterministic algorithms, this seed and number of threads, then restore.

    The same seed and number of threads give the same weights on the same kind of machine. On
    another kind the order of sums may differ, and with it the last digits.
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
    loss: Callable[[Tensor, int], Tensor],
    after_step: Callable[[int], None],
    name: str,
    context: FitContext,
    should_stop: Callable[[int], bool] = lambda _: False,
    weight_decay: float = 0.0,
    extra_state: Stateful | None = None,
) -> None:
    """Take AdamW steps over the rows, which are reshuffled every epoch.

    With a checkpoint, the steps resume from the state saved under ``name``, if there is one.

    Args:
        net: Trained in place; the same net in every process.
        rows: Number of rows; an incomplete last batch is dropped from its epoch.
        batch: Rows per step, over all devices.
        steps: Most steps that are taken.
        learning_rate: Learning rate by number of the step, from 0.
        loss: Mean loss of the rows with the given indices, at the given step.
        after_step: Called with the number of steps taken so far.
        name: Name of the fit: label of its bar, and name of its saved state.
        context: Devices, progress bars and checkpoint.
        should_stop: Called after ``after_step`` with the same number; True ends the fit.
        weight_decay: AdamW's weight decay.
        extra_state: State that ``after_step`` changes and later steps depend on.

    Raises:
        CheckpointError: If the saved state is damaged.
        DeviceError: If a batch does not divide among the devices.
    """
    devices, saved = context.devices, context.state(name)
    bar = context.progress.add_task(name, total=steps)
    fit = _Fit(net, AdamW(net.parameters(), weight_decay=weight_decay, fused=True), extra_state)
    fit.restore(saved.load() if saved else None)
    net.train()
    batches = batches_from(fit.step, rows, batch, fit.order_seed)
    for step in range(fit.step, steps):
        for group in fit.optimizer.param_groups:
            group["lr"] = learning_rate(step)
        fit.optimizer.zero_grad()
        with devices.autocast():
            value = loss(devices.share(next(batches)), step)
        value.backward()  # type: ignore[no-untyped-call]
        devices.average_gradients(net.parameters())
        fit.optimizer.step()
        fit.step = step + 1
        after_step(fit.step)
        context.progress.update(bar, completed=fit.step)
        if saved and (saved.due or fit.step == steps):
            saved.save(fit.state())
        if should_stop(fit.step):
            break
    net.eval()


class _Fit:
    """Everything that the next step depends on."""

    def __init__(self, net: nn.Module, optimizer: AdamW, extra_state: Stateful | None) -> None:
        self.net = net
        self.optimizer = optimizer
        self.extra_state = extra_state
        self.step = 0
        self.order_seed = int(torch.randint(2**62, (1,)))

    def state(self) -> State:
        slots = self.optimizer.state_dict()["state"]
        return {
            "step": torch.tensor(self.step),
            "order_seed": torch.tensor(self.order_seed),
            "rng": torch.get_rng_state(),
            **({"rng_cuda": torch.cuda.get_rng_state()} if self._cuda else {}),
            **with_prefix("net", self.net.state_dict()),
            **{f"optimizer.{n}.{key}": t for n, slot in slots.items() for key, t in slot.items()},
            **with_prefix(EXTRA_STATE, self.extra_state.state_dict() if self.extra_state else {}),
        }

    def restore(self, state: State | None) -> None:
        if state is None:
            return
        self.step, self.order_seed = int(state["step"]), int(state["order_seed"])
        torch.set_rng_state(state["rng"])
        if self._cuda:
            torch.cuda.set_rng_state(state["rng_cuda"])
        self.net.load_state_dict(without_prefix("net", state))
        flat = without_prefix("optimizer", state)
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in flat.items():
            number, _, key = name.partition(".")
            slots.setdefault(int(number), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        if self.extra_state:
            self.extra_state.load_state_dict(without_prefix(EXTRA_STATE, state))

    @property
    def _cuda(self) -> bool:
        return next(self.net.parameters()).is_cuda


def batches_from(step: int, rows: int, batch: int, seed: int) -> Iterator[Tensor]:
    """Row indices of the batches from step ``step`` on, over endless epochs."""
    epoch, within = divmod(step, steps_per_epoch(rows, batch))
    for number in count(epoch):
        yield from islice(epoch_batches(rows, batch, seed, number), within, None)
        within = 0


def epoch_batches(rows: int, batch: int, seed: int, epoch: int) -> Iterator[Tensor]:
    """Row indices of one epoch's full batches; one smaller batch if the rows do not fill one.

    Blocks of consecutive rows are shuffled, then the rows within each window of blocks. So only one
    window of rows has to be in memory at a time, and each of its blocks is read from the disk as a
    whole. The order depends on the arguments only.
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
