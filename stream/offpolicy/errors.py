"""Errors of off-policy estimation."""

from models.errors import UserError


class OffPolicyError(UserError, ValueError):
    """Frames or options that cannot be judged; names the frame, the column and the fix."""
