"""The result of a check: a line of `weir doctor`."""

from dataclasses import asdict, dataclass
from enum import StrEnum


class Level(StrEnum):
    """Severity of a finding."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One line of `weir doctor`.

    Attributes:
        check: Name of the check.
        level: Its severity.
        message: Description of the finding.
        fix: Action to take; empty if there is none, or if the message contains it.
    """

    check: str
    level: Level
    message: str
    fix: str = ""

    @property
    def sentence(self) -> str:
        """Message and fix in one line."""
        return f"{self.message}; {self.fix}" if self.fix else self.message

    def as_dict(self) -> dict[str, str]:
        """The finding as `weir doctor --json` prints it."""
        return {key: str(value) for key, value in asdict(self).items()}


def ok(check: str, message: str) -> Finding:
    """A finding that needs no action."""
    return Finding(check, Level.OK, message)


def warn(check: str, message: str, fix: str = "") -> Finding:
    """A finding with which Weir runs, but not as well as it should."""
    return Finding(check, Level.WARN, message, fix)


def fail(check: str, message: str, fix: str = "") -> Finding:
    """A finding with which Weir does not run, or loses data."""
    return Finding(check, Level.FAIL, message, fix)
