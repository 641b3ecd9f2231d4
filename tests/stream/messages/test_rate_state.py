"""States of partitions: they survive the wire, and whatever is damaged is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import bounds
from stream.messages import PartitionState, RecordError, read_state, write_state

NAN = b'{"rewards":"AADAfw==","due":1,"per_second":1,"worker":"w","tenure":1}'


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
        (b"0:*", NAN, "not all are finite"),
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
