"""Learning a step of the funnel on all requests (ESMM, Ma et al., SIGIR 2018)."""

import torch
from torch import Tensor

from trainer.training.objective.objective import Batch, Objective, cross_entropy


class EntireSpace(Objective):
    """Tasks within a population are learned by the product with it, over all requests (eq. 3, 4).

    The conditional probability has no loss of its own, so requests without the population's event
    are neither missing nor negative for it.
    """

    def forward(self, batch: Batch) -> Tensor:
        """Losses, (T,)."""
        losses = list(batch.losses_T.unbind())
        for task in range(len(losses)):
            if batch.funnel.population(task) is not None:
                losses[task] = product_loss(batch, task)
        return torch.stack(losses)


def product_loss(batch: Batch, task: int) -> Tensor:
    """Cross-entropy of a task's probability over all requests, a scalar."""
    labels_B = batch.labels_BT[:, task]
    known_B = ~labels_B.isnan()
    losses_B = cross_entropy(batch.on_all_BT[:, task], labels_B.nan_to_num())
    return batch.mean(losses_B, known_B)
