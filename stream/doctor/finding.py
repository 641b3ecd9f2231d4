"""What a check finds."""

from dataclasses import asdict, dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One line of `weir doctor`.

    Attributes:
        check: Name of the check.
        level: How bad it is.
        message: What was found.
        fix: What to do; empty where nothing has to be done.
    """

    check: str
    level: Level
    message: str
    fix: str = ""

    @property
    def sentence(self) -> str:
        """Message and fix."""
        return f"{self.message}; {self.fix}" if self.fix else self.message

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return {key: str(value) for key, value in asdict(self).items()}


def ok(check: str, message: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, message)


def warn(check: str, message: str, fix: str = "") -> Finding:
    """It runs, but not as it should."""
    return Finding(check, Level.WARN, message, fix)


def fail(check: str, message: str, fix: str = "") -> Finding:
    """It does not run, or loses something."""
    return Finding(check, Level.FAIL, message, fix)
