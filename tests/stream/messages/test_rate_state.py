import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import bounds
from stream.messages import (
    PartitionState,
    RecordError,
    Spending,
    read_change,
    read_scenario,
    read_spending,
    read_state,
    write_change,
    write_spending,
    write_state,
)

NAN = b'{"rewards":"AADAfw==","due":1,"per_second":1,"worker":"w","tenure":1}'

amounts = st.floats(-1e12, 1e12)
moments = st.integers(0, 2**45)


@given(
    st.text(min_size=1, max_size=bounds.MAX_SCENARIO_NAME).filter(str.isprintable),
    st.integers(0, 10_000),
    st.floats(-bounds.MAX_DUE, bounds.MAX_DUE),
    st.floats(0, 1e9),
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=256),
)
def test_a_state_comes_back_as_it_was(
    scenario: str, partition: int, due: float, per_second: float, rewards: list[float]
) -> None:
    """Any scenario name, colons included, and any finite rewards survive."""
    state = PartitionState(
        scenario, partition, due, per_second, np.array(rewards, np.float32), "w", 3
    )
    found = read_state(*write_state(state))
    assert (found.scenario, found.partition) == (scenario, partition)
    assert (found.due, found.per_second) == (due, per_second)
    assert np.array_equal(found.rewards_Q, state.rewards_Q)
    assert (found.worker, found.tenure) == ("w", 3)


@given(amounts, amounts, moments, st.integers(1, 2**40), moments)
def test_a_report_comes_back_as_it_was(
    budget: float, spent: float, start: int, length: int, ts: int
) -> None:
    """Amounts and moments survive the wire."""
    spending = Spending(budget, spent, start, start + length, ts)
    assert read_spending(write_spending(spending)) == spending


def test_a_change_and_its_taking_back_come_back() -> None:
    """A JSON object is a change, a tombstone takes one back."""
    assert read_change(write_change({"rate": 0.5})) == {"rate": 0.5}
    assert read_change(write_change(None)) is None
    assert read_scenario("é".encode()) == "é"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (b"*", b"{}", "PARTITION:SCENARIO"),
        (b"0:", b"{}", "PARTITION:SCENARIO"),
        (b"\xff:a", b"{}", "not UTF-8"),
        (None, b"{}", "empty"),
        (b"0:*", b"[]", "Expected `object`"),
        (b"0:*", b"", "empty"),
        (b"9" * 5000 + b":*", b"{}", "longer than"),
        (b"12345678:*", b"{}", "PARTITION:SCENARIO"),
        (b"0:*", b'{"rewards":"abc","due":1,"per_second":1,"worker":"w","tenure":1}', "rewards"),
        (b"0:*", b'{"rewards":"","due":1e308}', "due: Expected `float` <= 1000000000000"),
        (b"0:*", b'{"rewards":"AAAAAA=="}', "due"),
        (b"0:*", b'{"rewards":"","due":true,"per_second":1}', "due"),
        (b"0:*", NAN, "not all numbers are finite"),
        (b"0:*", b'{"rewards":"","due":1,"per_second":1}', "missing required field `worker`"),
        (
            b"0:*",
            b'{"rewards":"","due":1,"per_second":1,"worker":"w"}',
            "missing required field `tenure`",
        ),
    ],
)
def test_a_damaged_state_is_named(key: bytes | None, value: bytes, message: str) -> None:
    """Whatever is wrong with key or value, the error says what."""
    with pytest.raises(RecordError, match=message):
        read_state(key, value)


def test_a_report_that_ends_before_it_starts_is_refused() -> None:
    """A budget needs time to be spent in."""
    with pytest.raises(RecordError, match="end: 5 is not after start"):
        read_spending(b'{"budget":1,"spent":0,"start":5,"end":5,"ts":7}')
