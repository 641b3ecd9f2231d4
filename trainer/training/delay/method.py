"""The interface of the methods that learn from labels that are not final, and their registry.

Papers on delayed feedback have one task and a stream, in which a late event is a second example.
Here there are many tasks and a snapshot, in which every row is there once, with its age: of a row
of age a and a task, it is known whether the event happened within a. With p = P(event | x) and
F(a | x) = P(delay <= a | event, x), that is a draw of probability p F(a | x), and every method is
a rule that makes a loss for p of it. Final labels have F = 1.

N rows of the fit, B rows of a batch, T tasks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from models.choices import load_choice
from trainer.training.config import DELAYS
from trainer.training.delay.maturity import Uses
from trainer.training.row_range import RowRange


class Correction(Protocol):
    """The loss of a fit on rows with open labels."""

    @property
    def targets_NT(self) -> Tensor:
        """1 where the event was seen, 0 where not; NaN where the row does not count."""

    def losses(self, logits_BT: Tensor, rows_B: Tensor) -> Tensor:
        """Losses (B, T) of the rows with these numbers; any value where the target is NaN."""


@dataclass(frozen=True, slots=True)
class FitPlan:
    """What a method needs to know about a fit besides its rows.

    Attributes:
        names: Names of the tasks.
        table_rows: Rows of the embedding table, R: ids are below.
        seed: Seed of everything random.
    """

    names: Sequence[str]
    table_rows: int
    seed: int


class DelayMethod(Protocol):
    """A way of learning from labels that are not final."""

    @property
    def uses(self) -> Uses:
        """The rows that it learns from."""

    def correction(self, rows: RowRange, fit: FitPlan) -> Correction | None:
        """Prepare the loss of a fit on these rows, which are in order of time.

        Returns:
            The loss; None for cross-entropy on the rows' final targets.
        """


def delay_method(name: str) -> DelayMethod:
    """The method of this name.

    Raises:
        ValueError: If there is none.
    """
    method: DelayMethod = load_choice(DELAYS, name)
    return method
