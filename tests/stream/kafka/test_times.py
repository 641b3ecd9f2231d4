"""Times that a user writes."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bounds import MAX_TIME_MS
from stream.kafka.times import TimeError, parse_time_ms

MOMENTS = st.datetimes(
    datetime(1970, 1, 2),  # noqa: DTZ001 - the strategy adds the time zone
    datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m))),
)


@given(MOMENTS)
def test_iso_8601_with_an_offset_is_that_moment(moment: datetime) -> None:
    """To the millisecond, in any time zone."""
    whole = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    assert (
        parse_time_ms(whole.isoformat())
        == int(whole.timestamp()) * 1000 + whole.microsecond // 1000
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("0", 0),
        ("1767225600000", 1_767_225_600_000),
        (str(MAX_TIME_MS), MAX_TIME_MS),
        ("2026-01-01", 1_767_225_600_000),
        ("2026-01-01T00:00:00", 1_767_225_600_000),
        ("2026-01-01T02:00:00+02:00", 1_767_225_600_000),
    ],
)
def test_times_that_are_valid(text: str | None, expected: int | None) -> None:
    """Digits are milliseconds; a time without an offset is UTC."""
    assert parse_time_ms(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "yesterday", "", "-5", "1e3", "\u00b2", "99999-01-01", "9" * 40, str(MAX_TIME_MS + 1),
        "1969-12-31", "0001-01-01T00:00+23:59", "9999-12-31T23:59:59-23:00",
    ],
)  # fmt: skip
def test_a_text_that_is_no_time_is_quoted(text: str) -> None:
    """With an example of what is right, and never a traceback."""
    with pytest.raises(TimeError) as caught:
        parse_time_ms(text)
    assert str(caught.value) == (
        f"{text!r} is no time since 1970; write 2026-01-31T12:00:00, with an offset if it is not "
        "UTC, or milliseconds since the epoch"
    )


def test_now_is_a_time() -> None:
    """A time as Python prints it comes back."""
    now = datetime.now(UTC).replace(microsecond=0)
    assert parse_time_ms(now.isoformat()) == int(now.timestamp()) * 1000
