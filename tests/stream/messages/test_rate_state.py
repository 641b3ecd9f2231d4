"""States of the fleet: they survive the wire, and whatever is damaged is named."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import bounds
from stream.messages import FleetState, RecordError, read_state, write_state
from stream.messages.rate_summary import pack

GOOD = {
    "through": 7,
    "workers": 2,
    "per_second": 10.0,
    "debt": 1.5,
    "held": 0.5,
    "rewards": pack(np.array([1.0, 2.0])),
    "above": pack(np.array([0.5, 0.0])),
}


@given(
    st.text(min_size=1, max_size=bounds.MAX_SCENARIO_NAME).filter(str.isprintable),
    st.integers(0, bounds.MAX_OFFSET),
    st.floats(-bounds.MAX_DEBT, bounds.MAX_DEBT),
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=256, unique=True),
    st.dictionaries(st.text(max_size=20), st.integers(0, 4096), max_size=3),
)
def test_a_state_comes_back_as_it_was(
    scenario: str, through: int, debt: float, rewards: list[float], versions: dict[str, int]
) -> None:
    """Any scenario name, any rising rewards, any versions."""
    rewards_K = np.unique(np.array(rewards, np.float32))
    above_K = np.linspace(1, 0, len(rewards_K) + 1, dtype=np.float32)[1:]
    state = FleetState(scenario, through, 3, 12.5, debt, 1.0, rewards_K, above_K, versions)
    found = read_state(*write_state(state))
    assert (found.scenario, found.through, found.debt) == (scenario, through, debt)
    assert (found.workers, found.per_second, found.held) == (3, 12.5, 1.0)
    assert np.array_equal(found.rewards_K, rewards_K)
    assert np.array_equal(found.above_K, above_K)
    assert found.versions == versions


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"through": -1}, "rate-state.through: Expected `int` >= 0"),
        ({"workers": 10**9}, "rate-state.workers: Expected `int` <= 1000000"),
        ({"per_second": -1}, "rate-state.per_second"),
        ({"debt": 1e308}, "debt: Expected `float` <= 1000000000000"),
        ({"held": "much"}, "rate-state.held"),
        ({"rewards": "AADAfw=="}, "rate-state.rewards: not all are finite"),
        ({"rewards": "abc"}, "rate-state.rewards"),
        ({"rewards": pack(np.array([2.0, 1.0]))}, "rate-state.rewards: not strictly rising"),
        ({"rewards": pack(np.array([1.0]))}, "rate-state.above: 2 of 1 rewards"),
        ({"above": pack(np.array([0.5, 0.1]))}, "rate-state.above: does not fall"),
        ({"above": pack(np.array([1.5, 0.0]))}, "rate-state.above: does not fall"),
        ({"above": pack(np.array([-0.5, 0.0]))}, "rate-state.above: does not fall"),
        ({"versions": {"v": -1}}, "rate-state.versions"),
        ({"versions": {f"v{n}": 1 for n in range(99)}}, "rate-state.versions"),
    ],
)
def test_a_damaged_state_is_named(change: dict[str, object], message: str) -> None:
    """Whatever is wrong with the value, the error says what."""
    assert read_state(b"*", json.dumps(GOOD).encode()).through == 7
    with pytest.raises(RecordError, match=message):
        read_state(b"*", json.dumps(GOOD | change).encode())


def test_a_state_of_a_partition_is_refused() -> None:
    """What earlier versions wrote to the topic is no state of a fleet."""
    old = b'{"rewards":"","debt":1,"per_second":1,"worker":"w","generation":1}'
    with pytest.raises(RecordError, match="missing required field `through`"):
        read_state(b"0:*", old)
    with pytest.raises(RecordError, match="key: empty"):
        read_state(None, old)
