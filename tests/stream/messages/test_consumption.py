"""Spending reports: they survive the wire, and their period has a length."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.messages import RecordError, Spending, read_spending, write_spending

amounts = st.floats(-1e12, 1e12)
moments = st.integers(0, 2**45)


@given(amounts, amounts, moments, st.integers(1, 2**40), moments)
def test_a_report_comes_back_as_it_was(
    budget: float, spent: float, start: int, length: int, ts: int
) -> None:
    """Amounts and moments survive the wire."""
    spending = Spending(budget, spent, start, start + length, ts)
    assert read_spending(write_spending(spending)) == spending


def test_a_report_that_ends_before_it_starts_is_refused() -> None:
    """A budget needs time to be spent in."""
    with pytest.raises(RecordError, match="end: 5 is not after start"):
        read_spending(b'{"budget":1,"spent":0,"start":5,"end":5,"ts":7}')
