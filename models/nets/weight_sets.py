"""M weight sets of one net: what SWAG, dropout masks, ensembles and random priors have in common.

A weight set maps the names of parameters and buffers to tensors; what it does not name keeps the
net's own value. Predictions run several sets in one batched call (``torch.func``).

M weight sets, N requests, B requests of a batch, T tasks.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

Weights = dict[str, Tensor]


@torch.no_grad()
def predict_moments(
    net: nn.Module,
    samples: Sequence[Weights],
    ids_NC: Tensor,
    *,
    batch: int = 2048,
    chunk: int = 4,
    on_batch: Callable[[int], None] = lambda _: None,
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the probabilities over M weight sets (DAUM, Algorithm 1).

    Args:
        net: Gives logits of shape (N, T) for ids.
        samples: The M weight sets, all with the same names; with one, the deviation is 0.
        ids_NC: Feature ids.
        batch: Rows per pass.
        chunk: Weight sets per batched call; memory grows with it.
        on_batch: Told the number of rows after each pass.

    Returns:
        ``mean_NT`` and ``std_NT`` (divisor M), float32.
    """
    stacked, shared = stack_weights(samples)
    in_dims = ({name: 0 if name in stacked else None for name in stacked | shared}, None)

    def logits(weights: Weights, ids_BC: Tensor) -> Tensor:
        logits_BT: Tensor = functional_call(net, weights, (ids_BC,))
        return logits_BT

    run = vmap(logits, in_dims=in_dims, chunk_size=chunk)
    means, stds = [], []
    for ids_BC in torch.split(ids_NC, batch):
        probabilities_MBT = (
            run(stacked | shared, ids_BC).sigmoid()
            if stacked
            else logits(shared, ids_BC).sigmoid().unsqueeze(0)
        )
        means.append(probabilities_MBT.mean(0))
        stds.append(probabilities_MBT.std(0, correction=0))
        on_batch(len(ids_BC))
    return torch.cat(means), torch.cat(stds)


def stack_weights(samples: Sequence[Weights]) -> tuple[Weights, Weights]:
    """The sets side by side: tensors (M, ...) that differ, and those that all sets share.

    A tensor is shared when every set holds the very same object, as those that take no part in
    SWAG do: an embedding table is then kept once, not M times.
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
