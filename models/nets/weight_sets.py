"""M weight sets of one net: what SWAG, dropout masks, ensembles and random priors have in common.

A weight set maps the names of parameters and buffers to tensors; what it does not name keeps the
net's own value.

M weight sets, N requests, B requests of a batch, T tasks.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from models.nets.experts import TransformerBlock

Weights = dict[str, Tensor]
Run = Callable[[Tensor], Tensor]

BATCH = 128
"""Rows per pass of one weight set after the other: what a Transformer's experts make of them stays
in the processor's cache (279 us per request against 449 with 2,048; MLP experts do not care)."""
BATCHED_BATCH, BATCHED_SETS = 256, 20
"""Rows and weight sets per batched call; memory grows with their product."""


@torch.no_grad()
def predict_moments(
    net: nn.Module,
    samples: Sequence[Weights],
    ids_NC: Tensor,
    *,
    batched: bool | None = None,
    on_batch: Callable[[int], None] = lambda _: None,
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the probabilities over M weight sets (DAUM, Algorithm 1).

    Args:
        net: Gives logits of shape (N, T) for ids.
        samples: The M weight sets, all with the same names; with one, the deviation is 0.
        ids_NC: Feature ids.
        batched: Whether sets run in one batched call (``torch.func.vmap``), or one after the other;
            by default whichever is the faster, see :func:`runs_batched`.
        on_batch: Told the number of rows after each pass.

    Returns:
        ``mean_NT`` and ``std_NT`` (divisor M), float32.
    """
    stacked, shared = stack_weights(samples)
    if batched is None:
        batched = runs_batched(net, stacked, shared)
    run = _all_at_once(net, stacked, shared) if batched else _one_by_one(net, samples)
    means, stds = [], []
    for ids_BC in torch.split(ids_NC, BATCHED_BATCH if batched else BATCH):
        probabilities_MBT = run(ids_BC).sigmoid()
        means.append(probabilities_MBT.mean(0))
        stds.append(probabilities_MBT.std(0, correction=0))
        on_batch(len(ids_BC))
    return torch.cat(means), torch.cat(stds)


def runs_batched(net: nn.Module, stacked: Weights, shared: Weights) -> bool:
    """Whether one batched call is the faster way.

    On a GPU it is. On a CPU it is when the sets share tensors, as the embedding that then is looked
    up once, and not for Transformers, whose fused attention knows no batch of weights. Without
    anything to share both take the same time.
    """
    if any(tensor.is_cuda for tensor in stacked.values()):
        return True
    attends = any(isinstance(module, TransformerBlock) for module in net.modules())
    named = stacked | shared
    leaves_out = any(name not in named for name, _ in net.named_parameters())
    return bool(stacked) and (bool(shared) or leaves_out) and not attends


def stack_weights(samples: Sequence[Weights]) -> tuple[Weights, Weights]:
    """The sets side by side: tensors (M, ...) that differ, and those that all sets share.

    A tensor is shared when every set holds the very same object, as those that take no part in
    SWAG's spread do: an embedding table is then kept once, not M times.
    """
    first = samples[0]
    shared = {
        name: tensor
        for name, tensor in first.items()
        if all(sample[name] is tensor for sample in samples)
    }
    stacked = {
        name: torch.stack([sample[name] for sample in samples])
        for name in first
        if name not in shared
    }
    return stacked, shared


def _all_at_once(net: nn.Module, stacked: Weights, shared: Weights) -> Run:
    def logits(weights: Weights, ids_BC: Tensor) -> Tensor:
        logits_BT: Tensor = functional_call(net, weights | shared, (ids_BC,))
        return logits_BT

    run = vmap(logits, in_dims=(0, None), chunk_size=BATCHED_SETS)
    return lambda ids_BC: run(stacked, ids_BC)


def _one_by_one(net: nn.Module, samples: Sequence[Weights]) -> Run:
    return lambda ids_BC: torch.stack(
        [functional_call(net, sample, (ids_BC,)) for sample in samples]
    )
