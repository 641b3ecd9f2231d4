"""`weir doctor`: checks before the start that a role finds everything that it needs."""

from stream.doctor.diagnosis import NotReadyError, diagnose, preflight
from stream.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "NotReadyError", "diagnose", "preflight"]
