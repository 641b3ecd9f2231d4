"""States of partitions: they survive the wire, and whatever is damaged is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import bounds
from stream.messages import PartitionState, RecordError, read_state, write_state

NAN = b'{"rewards":"AADAfw==","debt":1,"per_second":1,"worker":"w","generation":1}'


@given(
    st.text(min_size=1, max_size=bounds.MAX_SCENARIO_NAME).filter(str.isprintable),
    st.integers(0, 10_000),
    st.floats(-bounds.MAX_DEBT, bounds.MAX_DEBT),
    st.floats(0, 1e9),
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=256),
)
def test_a_state_comes_back_as_it_was(
    scenario: str, partition: int, debt: float, per_second: float, rewards: list[float]
) -> None:
    """Any scenario name, colons included, and any finite rewards survive."""
    state = PartitionState(
        scenario, partition, debt, per_second, np.array(rewards, np.float32), "w", 3, "v7"
    )
    found = read_state(*write_state(state))
    assert (found.scenario, found.partition) == (scenario, partition)
    assert (found.debt, found.per_second) == (debt, per_second)
    assert np.array_equal(found.rewards_Q, state.rewards_Q)
    assert (found.worker, found.generation, found.model) == ("w", 3, "v7")


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
        (
            b"0:*",
            b'{"rewards":"abc","debt":1,"per_second":1,"worker":"w","generation":1}',
            "rewards",
        ),
        (b"0:*", b'{"rewards":"","debt":1e308}', "debt: Expected `float` <= 1000000000000"),
        (b"0:*", b'{"rewards":"AAAAAA=="}', "debt"),
        (b"0:*", b'{"rewards":"","debt":true,"per_second":1}', "debt"),
        (b"0:*", NAN, "not all are finite"),
        (b"0:*", b'{"rewards":"","debt":1,"per_second":1}', "missing required field `worker`"),
        (
            b"0:*",
            b'{"rewards":"","debt":1,"per_second":1,"worker":"w"}',
            "missing required field `generation`",
        ),
    ],
)
def test_a_damaged_state_is_named(key: bytes | None, value: bytes, message: str) -> None:
    """Whatever is wrong with key or value, the error says what."""
    with pytest.raises(RecordError, match=message):
        read_state(key, value)
