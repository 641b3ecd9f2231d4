import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.policy.fleet.ledger import Ledger


def record(
    ledger: Ledger, partition: int, passed: list[bool], start_ms: int = 0, step_ms: int = 1
) -> None:
    count = len(passed)
    ledger.record(
        np.full(count, partition),
        start_ms + step_ms * np.arange(count),
        np.array(passed, np.bool_),
        0.25,
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.lists(st.booleans(), min_size=1, max_size=20)), max_size=9
    )
)
def test_what_is_owed_counts_whatever_the_assignment_is(
    batches: list[tuple[int, list[bool]]],
) -> None:
    """Every decided request counts once, also of a partition that has been revoked meanwhile."""
    ledger = Ledger()
    for number, (partition, passed) in enumerate(batches):
        ledger.assign(frozenset({number % 4, (number + 1) % 4}))
        record(ledger, partition, passed)
        ledger.measure(1.0)
    expected = sum(0.25 - passed for _, batch in batches for passed in batch)
    assert ledger.owed == pytest.approx(expected)


def test_a_backlog_counts_as_the_traffic_that_it_was() -> None:
    """Ten seconds of event time that are read in one second have the speed of event time."""
    ledger = Ledger()
    for second in range(20):
        record(ledger, 0, [False] * 5000, 10_000 * second, 2)
        found = ledger.measure(1.0)
    assert found == pytest.approx(500.0, rel=0.01)


def test_traffic_follows_what_is_read_within_seconds() -> None:
    """Doubled traffic is halfway seen after 5 s; without requests it is forgotten likewise."""
    ledger = Ledger()
    now_ms = 0
    for _ in range(60):
        record(ledger, 0, [False] * 100, now_ms, 10)
        now_ms += 1000
        assert ledger.measure(1.0) == pytest.approx(100.0, rel=0.02)
    for _ in range(5):
        record(ledger, 0, [False] * 200, now_ms, 5)
        now_ms += 1000
        found = ledger.measure(1.0)
    assert found == pytest.approx(150.0, rel=0.05)
    for _ in range(5):
        idle = ledger.measure(1.0)
    assert idle == pytest.approx(found / 2, rel=0.05)
    assert ledger.requests == 0


def test_a_pause_is_counted_once() -> None:
    """Time without requests, noticed by the wall clock, is not counted again by event time."""
    ledger = Ledger()
    record(ledger, 0, [False] * 100, 0, 10)
    ledger.measure(1.0)
    ledger.measure(4.0)
    record(ledger, 0, [False] * 100, 5000, 10)
    assert ledger.measure(1.0) == pytest.approx(30.1, rel=0.02)  # 17 if it were counted twice


def test_revoked_partitions_have_no_traffic_here() -> None:
    """Only own partitions count, also while revoked ones are still in flight."""
    ledger = Ledger()
    ledger.assign(frozenset({0, 1}))
    for partition in (0, 1):
        record(ledger, partition, [False] * 1000)
    assert ledger.measure(1.0) == pytest.approx(2000.0, rel=0.01)
    ledger.assign(frozenset({1}))
    record(ledger, 0, [False] * 1000, 1000)
    record(ledger, 1, [False] * 1000, 1000)
    assert ledger.measure(1.0) == pytest.approx(1000.0, rel=0.01)
