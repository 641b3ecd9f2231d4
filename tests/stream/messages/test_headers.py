"""Headers: the exchange's own stay, Weir's are removed, sequence numbers survive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.messages import own_headers, sequence_header, sequence_number


def test_headers_of_weirs_names_are_removed() -> None:
    """Names that merely begin like Weir's stay."""
    own = (("a", b"1"), ("weird", None), ("weir_x", b"2"))
    assert own_headers([("weir", b"x"), *own, ("weir-offset", b"3"), ("weir-", None)]) == own
    assert own_headers(own) is own


@given(st.integers(0, 2**63 - 1))
def test_a_sequence_number_is_read_back(number: int) -> None:
    """Whatever other headers there are."""
    assert sequence_number([("x", b"1"), sequence_header(number)]) == number


@pytest.mark.parametrize("value", [None, b"", b"\x80" + bytes(7), b"\x01" * 9])
def test_a_number_that_does_not_fit_counts_as_none(value: bytes | None) -> None:
    """Anybody may write the header."""
    assert sequence_number([("seq", value)]) == 0
