"""Summaries of workers: they survive the wire, and whatever is damaged is named."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import bounds
from stream.messages import RateSummary, RecordError, read_summary, slot_of, write_summary
from stream.messages.rate_summary import pack

GOOD = {
    "worker": "w",
    "sequence": 1,
    "owed": 2.0,
    "owed_before": 1.0,
    "held": 0.5,
    "drift": 0.0,
    "per_second": 10.0,
    "rewards": pack(np.array([1.0, 1.0, 2.0])),
}


@given(
    st.text(min_size=1, max_size=bounds.MAX_SCENARIO_NAME).filter(str.isprintable),
    st.integers(0, bounds.MAX_OFFSET),
    st.floats(-bounds.MAX_DEBT, bounds.MAX_DEBT),
    st.floats(0, 1e9),
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=256),
)
def test_a_summary_comes_back_as_it_was(
    scenario: str, sequence: int, owed: float, per_second: float, rewards: list[float]
) -> None:
    """Any scenario name and any finite rewards survive."""
    rewards_Q = np.sort(np.array(rewards, np.float32))
    summary = RateSummary(
        scenario, "me", sequence, owed, -owed, 0.25, -2.5, per_second, rewards_Q, {"v7": 4}
    )
    found = read_summary(*write_summary(summary))
    assert (found.scenario, found.worker, found.sequence) == (scenario, "me", sequence)
    assert (found.owed, found.owed_before) == (owed, -owed)
    assert (found.held, found.drift) == (0.25, -2.5)
    assert (found.per_second, found.versions) == (per_second, {"v7": 4})
    assert np.array_equal(found.rewards_Q, rewards_Q)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"worker": "w" * 5000}, "rate-summaries.worker"),
        ({"sequence": 2**63}, "rate-summaries"),
        ({"owed": 1e308}, "rate-summaries.owed: Expected `float` <= 1000000000000"),
        ({"owed_before": None}, "rate-summaries.owed_before"),
        ({"per_second": 1e10}, "rate-summaries.per_second"),
        ({"rewards": pack(np.array([2.0, 1.0]))}, "rate-summaries.rewards: not rising"),
        ({"rewards": pack(np.full(257, 1.0))}, "rate-summaries.rewards"),
        ({"rewards": "AADAfw=="}, "rate-summaries.rewards: not all are finite"),
    ],
)
def test_a_damaged_summary_is_named(change: dict[str, object], message: str) -> None:
    """Whatever is wrong with the value, the error says what."""
    assert read_summary(b"*", json.dumps(GOOD).encode()).owed == 2.0
    with pytest.raises(RecordError, match=message):
        read_summary(b"*", json.dumps(GOOD | change).encode())


def test_scenarios_are_spread_over_the_slots() -> None:
    """The slot is the CRC-32 of the name; a thousand names reach every one of 16 slots."""
    assert slot_of("*", 16) == 0x09B9265B % 16
    assert {slot_of(f"s{n}", 16) for n in range(1000)} == set(range(16))
    assert {slot_of(f"s{n}", 1) for n in range(9)} == {0}
