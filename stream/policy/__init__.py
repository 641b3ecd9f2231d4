"""The policy: which requests pass. Confidence h (eq. 9), reward f (eq. 8), rate r (eq. 7)."""

from stream.policy.errors import ExpressionError, PolicyError
from stream.policy.policy import Decisions, Policy

__all__ = ["Decisions", "ExpressionError", "Policy", "PolicyError"]
