"""What fitting the teacher and fitting the student share: batches, schedule, determinism."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import AdamW


@contextmanager
def deterministic(threads: int, seed: int) -> Iterator[None]:
    """Run with torch's deterministic algorithms, stated threads and seed; then as before.

    The same seed and number of threads give the same weights on the same kind of machine; on
    another one the order of sums may differ, and with it the last digits.
    """
    threads_before = torch.get_num_threads()
    algorithms_before = torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=True)
    try:
        with torch.random.fork_rng(devices=[]):
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
    weight_decay: float = 0.0,
) -> None:
    """Take ``steps`` AdamW steps over rows in an order shuffled anew every epoch.

    Args:
        net: What is trained, in place.
        rows: Number of rows; a last batch that is not full is left out of its epoch.
        batch: Rows per step.
        steps: Steps in all.
        learning_rate: Rate of a step.
        loss: Loss of the rows with these indices.
        after_step: Called with the number of steps taken so far.
        weight_decay: AdamW's.
    """
    optimizer = AdamW(net.parameters(), weight_decay=weight_decay, fused=True)
    per_epoch = steps_per_epoch(rows, batch)
    order_N = torch.arange(rows)
    net.train()
    for step in range(steps):
        within = step % per_epoch
        if within == 0:
            order_N = torch.randperm(rows)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        optimizer.zero_grad()
        loss(order_N[within * batch : (within + 1) * batch]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        after_step(step + 1)
    net.eval()


def steps_per_epoch(rows: int, batch: int) -> int:
    """Full batches in an epoch, at least one."""
    return max(rows // batch, 1)
