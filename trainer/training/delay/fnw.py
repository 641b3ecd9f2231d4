"""``fnw``: fake-negative weighting (Ktena et al., RecSys 2019, equations 8 to 12).

In its stream every request is a negative at once, and a positive besides when its event comes, so
the share of positives that the net sees is b = p / (1 + p). With the weights p / b = 1 + p of
positives and (1 - p) / (1 - b) = (1 - p)(1 + p) of negatives, p being the net's own prediction
without its gradient, the minimiser is p again.

In a snapshot every row is such a negative, and a row whose event was seen is a positive besides.
That undoes the duplicates; it knows nothing of events that are still to come. Those are in the
stream's future, but not in a rebuild's: the minimiser here is the share of events seen by now,
the mean of p F over the ages, below p where rows are young. Weights are within [0, 2].
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trainer.training.delay.maturity import OPEN, Uses
from trainer.training.delay.method import FitPlan
from trainer.training.row_range import RowRange


@dataclass(frozen=True, slots=True)
class FakeNegatives:
    """Every row is a negative, and a positive besides if its event was seen.

    Attributes:
        targets_NT: 1 seen, 0 not seen, NaN where the row does not count.
    """

    targets_NT: Tensor

    def losses(self, logits_BT: Tensor, rows_B: Tensor) -> Tensor:
        """Weighted cross-entropies (B, T)."""
        seen_BT = self.targets_NT[rows_B].to(logits_BT.device)
        p_BT = logits_BT.detach().sigmoid()
        positive_BT = torch.where(seen_BT == 1, 1 + p_BT, torch.zeros_like(p_BT))
        negative_BT = (1 - p_BT) * (1 + p_BT)
        return weighted_losses(logits_BT, positive_BT, negative_BT)


def weighted_losses(logits_BT: Tensor, positive_BT: Tensor, negative_BT: Tensor) -> Tensor:
    """Cross-entropy with a weight of either class, (B, T)."""
    loss_BT = positive_BT * functional.softplus(-logits_BT)
    return loss_BT + negative_BT * functional.softplus(logits_BT)


@dataclass(frozen=True, slots=True)
class FakeNegativeWeighting:
    """The method.

    Attributes:
        uses: Rows with open labels, too.
    """

    uses: Uses = OPEN

    def correction(self, rows: RowRange, fit: FitPlan) -> FakeNegatives | None:  # noqa: ARG002
        """The loss needs no estimate."""
        return None if rows.opened is None else FakeNegatives(rows.opened.seen_KT)


FNW = FakeNegativeWeighting()
