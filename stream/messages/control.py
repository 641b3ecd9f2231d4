"""Changes of a scenario's settings, on the topic ``control``.

The key names the scenario, ``*`` for all scenarios, as on ``consumption``.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from models import bounds
from stream.messages.parsing import RecordError, decode

Scalar = bool | int | float | str | None
Change = dict[str, Scalar | dict[str, Scalar]]
"""Settings of a scenario by name; the policy validates their types and bounds."""

_CHANGE: Final = msgspec.json.Decoder(Change)


def read_scenario(key: bytes | None, longest: int = bounds.MAX_SCENARIO_NAME) -> str:
    """Read the scenario from a key.

    Args:
        key: The key.
        longest: Characters of the longest name that is accepted.

    Raises:
        RecordError: If the key is empty, not UTF-8, or too long.
    """
    try:
        name = (key or b"")[: 4 * longest + 4].decode()
    except UnicodeDecodeError as error:
        raise RecordError(f"key: not UTF-8: {error.reason}") from error
    if not name:
        raise RecordError("key: empty; a scenario is expected, or * for all")
    if len(name) > longest:
        raise RecordError(f"key: longer than {longest} characters: {name[:60]!r}...")
    return name


def read_change(value: bytes | None) -> Change | None:
    """Read the value of a record on ``control``; None (a tombstone) revokes the last change.

    Raises:
        RecordError: If it is not a JSON object of settings.
    """
    return None if value is None else decode(value, _CHANGE, "control", bounds.MAX_CONTROL_BYTES)


def write_change(change: Mapping[str, Any] | None) -> bytes | None:
    """Value of a record on ``control``."""
    return None if change is None else msgspec.json.encode(change)
