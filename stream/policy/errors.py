"""Errors of the policy: its settings are invalid."""

from typing import Final

from models.errors import UserError

_SHOWN: Final = 120
"""Characters of an expression that an error repeats."""


class PolicyError(UserError, ValueError):
    """Invalid settings; names the key, what is wrong with it, and the fix."""


class ExpressionError(PolicyError):
    """Text that is not an expression of the tasks.

    Attributes:
        column: Column of the fault, counted from 1.
    """

    def __init__(self, text: str, column: int, fault: str) -> None:
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
        super().__init__(f"policy.reward: column {column} of {shown!r}: {fault}")
        self.column = column
