"""Dead letters: their headers survive the wire, and a cut one is short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.messages import DeadLetter, RecordError, RejectCode
from stream.messages.dead_letter import (
    LONG_ENVELOPE,
    MESSAGE_CHARACTERS,
    TRUNCATED_BYTES,
    Envelope,
    with_source_timestamp,
)

int64 = st.integers(-(2**63), 2**63 - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=MESSAGE_CHARACTERS)
letters = st.builds(
    DeadLetter,
    code=st.sampled_from(RejectCode),
    message=texts,
    topic=st.from_regex(r"[a-z.-]{1,30}", fullmatch=True),
    partition=st.integers(0, 2**31 - 1),
    offset=st.integers(0, 2**63 - 1),
    last_offset=st.none() | st.integers(0, 2**63 - 1),
    timestamp=st.none() | int64,
    truncated_from=st.none() | st.integers(-1, 2**31 - 1),
)


@given(letters)
def test_a_dead_letter_is_read_back_as_it_was_written(letter: DeadLetter) -> None:
    """Behind any headers of the source."""
    headers = [("x", b"1"), ("error", None), *letter.to_headers()]
    assert DeadLetter.from_headers(headers) == letter


def test_the_headers_are_what_is_documented() -> None:
    """Consumers downstream read these names; changing one is a change of the contract."""
    letter = DeadLetter(RejectCode.TOO_LARGE, "why", "bid-requests", 3, 7, 8, 9, 10)
    assert letter.to_headers() == (
        ("weir-truncated-from", b"10"),
        ("weir-error", b"too-large"),
        ("weir-message", b"why"),
        ("weir-topic", b"bid-requests"),
        ("weir-partition", b"3"),
        ("weir-last-offset", b"8"),
        ("weir-timestamp", b"9"),
        ("weir-offset", b"7"),
    )


def test_a_timestamp_is_added_where_it_would_have_been_written() -> None:
    """The source offset stays the last header."""
    letter = DeadLetter(RejectCode.REFUSED, "why", "bid-requests", 3, 7)
    moved = DeadLetter(RejectCode.REFUSED, "why", "bid-requests", 3, 7, timestamp=-5)
    assert with_source_timestamp(letter.to_headers(), -5) == moved.to_headers()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weir-error", None, "the header weir-error is missing"),
        ("weir-error", b"odd", "'odd' is not a valid RejectCode"),
        ("weir-offset", b"x", "invalid literal"),
        ("weir-offset", b"\xff", "can't decode"),
        ("weir-last-offset", None, "the header weir-last-offset is missing"),
    ],
)
def test_a_malformed_dead_letter_is_a_record_error(
    name: str, value: bytes | None, message: str
) -> None:
    """Anybody may write to a topic."""
    headers = dict(DeadLetter(RejectCode.EMPTY, "why", "t", 3, 7).to_headers())
    with pytest.raises(RecordError, match=message):
        DeadLetter.from_headers([*{**headers, name: value}.items()])


@given(
    key=st.none() | st.integers(0, 9_000).map(bytes),
    value=st.none() | st.integers(0, 9_000).map(bytes),
    headers=st.lists(
        st.tuples(st.text(max_size=40), st.none() | st.integers(0, 5_000).map(bytes)), max_size=5
    ),
)
def test_a_truncated_envelope_is_bounded(
    key: bytes | None, value: bytes | None, headers: list[tuple[str, bytes | None]]
) -> None:
    """The value's beginning stays; key and headers stay whole unless they are long together."""
    whole = Envelope(key, value, headers)
    cut = whole.truncated()
    assert cut.value == (value if value is None else value[:TRUNCATED_BYTES])
    if Envelope(key, None, headers).size <= LONG_ENVELOPE:
        assert (cut.key, cut.headers) == (key, headers)
    else:
        assert (cut.key, cut.headers) == (key if key is None else key[:TRUNCATED_BYTES], ())
    assert cut.size <= TRUNCATED_BYTES + LONG_ENVELOPE
