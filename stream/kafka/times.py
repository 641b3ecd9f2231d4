"""Times that a user writes: of a replay, of a reset, of a version's history."""

from datetime import UTC, datetime, timedelta
from typing import Final, overload

from models.bounds import MAX_TIME_MS
from models.errors import UserError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class TimeError(UserError, ValueError):
    """A text that is no time; quotes it and shows how one is written."""


@overload
def parse_time_ms(text: str) -> int: ...
@overload
def parse_time_ms(text: str | None) -> int | None: ...
def parse_time_ms(text: str | None) -> int | None:
    """Parse a time to ms since the epoch: ISO 8601, UTC without an offset, or digits.

    Args:
        text: The time; None stays None.

    Raises:
        TimeError: If the text is neither, or lies outside of the calendar.
    """
    if text is None:
        return None
    try:
        time_ms = int(text[:20]) if text.isascii() and text.isdigit() else _iso_8601_ms(text)
    except (ValueError, OverflowError) as error:
        raise TimeError(_explain(text)) from error
    if not 0 <= time_ms <= MAX_TIME_MS:
        raise TimeError(_explain(text))
    return time_ms


def _iso_8601_ms(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)  # exact, unlike the float timestamp()


def _explain(text: str) -> str:
    return (
        f"{text!r} is no time since 1970; write 2026-01-31T12:00:00, with an offset if it is not "
        "UTC, or milliseconds since the epoch"
    )
