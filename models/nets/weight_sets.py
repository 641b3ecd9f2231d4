"""M weight sets of one net, the common form of SWAG samples, dropout masks, ensembles and priors.

A weight set maps names of parameters and buffers to tensors; others keep the net's own value.

M weight sets, N requests, B requests per batch, T tasks.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from models.nets.experts import TransformerBlock

Weights = dict[str, Tensor]
LogitsBySet = Callable[[Tensor], Tensor]
"""Maps ids (B, C) to the logits of every weight set, (M, B, T)."""

BATCH = 128
"""Rows per pass if weight sets run one after another: activations of Transformer experts then fit
into the cache (279 us per request against 449 with 2,048; MLP experts are insensitive)."""
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
        net: A net whose outputs are logits of shape (N, T).
        samples: The M weight sets, all with the same names; the deviation of one is 0.
        ids_NC: Feature ids.
        batched: Whether sets run in one batched call (``torch.func.vmap``) or one after another; by
            default the faster of both, see :func:`runs_batched`.
        on_batch: Called with the number of rows after each pass.

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
    """Whether one batched call is faster than one call per weight set.

    On a GPU it is. On a CPU it is if the sets share tensors, such as an embedding, which is then
    looked up once; but not for Transformers, whose fused attention does not support batches of
    weights. Without shared tensors both take the same time.
    """
    if any(tensor.is_cuda for tensor in stacked.values()):
        return True
    attends = any(isinstance(module, TransformerBlock) for module in net.modules())
    named = stacked | shared
    leaves_out = any(name not in named for name, _ in net.named_parameters())
    return bool(stacked) and (bool(shared) or leaves_out) and not attends


def stack_weights(samples: Sequence[Weights]) -> tuple[Weights, Weights]:
    """Weight sets as stacked tensors (M, ...) that differ, and tensors that all sets share.

    A tensor is shared if every set contains the same object, as for weights that SWAG does not
    sample: an embedding table is then stored once, not M times.
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


def _all_at_once(net: nn.Module, stacked: Weights, shared: Weights) -> LogitsBySet:
    def logits(weights: Weights, ids_BC: Tensor) -> Tensor:
        logits_BT: Tensor = functional_call(net, weights | shared, (ids_BC,))
        return logits_BT

    run = vmap(logits, in_dims=(0, None), chunk_size=BATCHED_SETS)
    return lambda ids_BC: run(stacked, ids_BC)


def _one_by_one(net: nn.Module, samples: Sequence[Weights]) -> LogitsBySet:
    return lambda ids_BC: torch.stack(
        [functional_call(net, sample, (ids_BC,)) for sample in samples]
    )
