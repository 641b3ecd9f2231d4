"""What the policy raises when its settings cannot be used."""

from models.errors import UserError


class PolicyError(UserError, ValueError):
    """Names the key of the settings, what is wrong with it, and the fix."""


class ExpressionError(PolicyError):
    """Text that is not an expression of the tasks.

    Attributes:
        column: Where the offence stands, counted from 1.
    """

    def __init__(self, text: str, column: int, fault: str) -> None:
        super().__init__(f"policy.reward: column {column} of {text!r}: {fault}")
        self.column = column
