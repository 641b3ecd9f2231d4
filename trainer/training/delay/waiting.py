"""``wait`` and ``mask``: labels count once they are final.

``wait`` learns from rows all of whose labels are final. ``mask`` learns from every row the tasks
whose labels are final, so clicks are learned today and deals when their window closes. Both are
unbiased, because a label's age alone decides whether it counts: an event that is seen early waits
for its window as the missing ones do. Their loss is plain cross-entropy.
"""

from dataclasses import dataclass

from trainer.training.delay.maturity import CLOSED, FINAL, Uses
from trainer.training.delay.method import FitPlan
from trainer.training.row_range import RowRange


@dataclass(frozen=True, slots=True)
class FinalLabels:
    """Cross-entropy on final labels.

    Attributes:
        uses: The rows that are learned from.
    """

    uses: Uses

    def correction(self, rows: RowRange, fit: FitPlan) -> None:
        """No correction: the targets hold final labels only."""


WAIT = FinalLabels(FINAL)
MASK = FinalLabels(CLOSED)
