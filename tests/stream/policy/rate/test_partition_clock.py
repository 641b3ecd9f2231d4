"""The guarantees of `stream/policy/rate/partition_clock.py`, for hostile timestamps."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.policy.rate.partition_clock import (
    GAP_MS,
    LATE_MS,
    RUN,
    PartitionClock,
    in_milliseconds,
)

START = 1_767_225_600_000
DAY = 86_400_000
INT64 = np.iinfo(np.int64)

sane = st.integers(0, 3_000)
hostile = st.one_of(
    st.sampled_from([0, -1, INT64.min, INT64.max, START + DAY, START - DAY, START * 1000, 1]),
    st.integers(INT64.min, INT64.max),
    st.integers(START - 200_000, START + 200_000),
)
stamps = st.lists(sane.map(lambda gap: START + gap) | hostile, max_size=200)


def array(times: list[int] | range) -> npt.NDArray[np.int64]:
    return np.array(times, np.int64)


def followed(times: npt.NDArray[np.int64], now_ms: int | None = None) -> npt.NDArray[np.int64]:
    return PartitionClock().read(in_milliseconds(times), now_ms)


@settings(deadline=None)
@given(times=stamps, cuts=st.lists(st.integers(0, 200), max_size=10), wall=st.booleans())
def test_time_never_goes_back_and_does_not_depend_on_the_cutting(
    times: list[int], cuts: list[int], wall: bool
) -> None:
    """Any stamps, any cutting, one by one included: the same positions, which never fall."""
    now = START + 5_000 if wall else None
    whole_N = followed(array(times), now)
    assert (np.diff(whole_N, prepend=0) >= 0).all()
    edges = [0, *sorted(min(cut, len(times)) for cut in cuts), len(times)]
    for edges_of in (edges, list(range(len(times) + 1))):
        clock = PartitionClock()
        scaled = in_milliseconds(array(times))
        parts = [clock.read(scaled[a:b], now) for a, b in pairwise(edges_of)]
        if parts:
            assert np.array_equal(np.concatenate(parts), whole_N)


@settings(deadline=None)
@given(
    gaps=st.lists(st.integers(-300, 900) | st.integers(0, 50_000), min_size=1, max_size=300),
    offset=st.sampled_from([0, DAY, -DAY, -400 * DAY]),
)
def test_regular_stamps_are_followed_exactly(gaps: list[int], offset: int) -> None:
    """Late by less than a second, pauses of less than a minute: time is the newest stamp."""
    times, newest = [], START + offset
    for gap in gaps:
        newest += max(gap, 0)
        times.append(newest + min(gap, 0))
    expected_N = np.maximum.accumulate(array(times)) - times[0]
    assert np.array_equal(followed(array(times)), expected_N)
    if offset <= 0:
        assert np.array_equal(followed(array(times), START + 400 * DAY), expected_N)


@given(
    at=st.integers(1, 400),
    wrong=hostile.filter(lambda time: abs(time - START) > 2 * GAP_MS or time <= 0),
    count=st.integers(1, 3),
)
@example(at=5, wrong=START + DAY, count=1)
@example(at=5, wrong=2**63 - 1, count=3)
def test_stamps_far_off_move_nothing_and_the_next_right_one_counts(
    at: int, wrong: int, count: int
) -> None:
    """A day ahead, 2^63, microseconds of another year, -1: the right ones go on as if alone."""
    right_N = array(range(START, START + 5_000, 10))
    (expected_N,) = [followed(right_N)]
    found_N = followed(np.insert(right_N, at, [wrong] * count))
    assert np.array_equal(np.delete(found_N, slice(at, at + count)), expected_N)


@given(at=st.integers(1, 300), ahead=st.integers(LATE_MS + 5_000, GAP_MS))
def test_after_a_stamp_a_little_ahead_time_goes_on_within_eight(at: int, ahead: int) -> None:
    """A stamp that could be a pause is believed once; from the eighth right one on time passes."""
    right_N = array(range(START, START + 5_000, 10))
    found_N = followed(np.insert(right_N, at, right_N[at - 1] + ahead))
    assert found_N[at] - found_N[at - 1] == ahead
    assert (np.diff(found_N[at : at + RUN]) == 0).all()
    assert (np.diff(found_N[at + RUN :]) == 10).all()
    again_N = followed(np.insert(right_N, [at, at + 90], right_N[[at - 1, at + 89]] + ahead))
    assert again_N[-1] <= found_N[-1] + RUN * 10


def test_clocks_set_back_or_forward_go_on_at_once() -> None:
    """An hour back (summer time), a day ahead: of a second's requests a second passes."""
    one = array(range(START, START + 10_000, 10))
    for offset in (-3_600_000, DAY):
        times = np.concatenate([one, one + 10_000 + offset, one + 20_000])
        assert 29_950 <= followed(times)[-1] <= 30_000


def test_producers_with_clocks_of_their_own_are_told_apart() -> None:
    """Batches of three producers, one half a minute and one a day off: time passes once."""
    times = np.arange(START, START + 60_000, 5)
    batch = np.arange(len(times)) // 20 % 3
    offset = np.array([0, 30_000, -DAY])[batch]
    passed = followed(times + offset)[-1]
    assert passed == pytest.approx(60_000, abs=31_000)
    later = followed(np.concatenate([times + offset, times + 60_000 + offset]))[-1]
    assert later - passed == pytest.approx(60_000, abs=200)


def test_rare_requests_are_followed_after_a_few() -> None:
    """One request every two minutes: after eight of them each counts a minute."""
    times = array(range(START, START + 40 * 120_000, 120_000))
    found = followed(times)
    assert (np.diff(found)[RUN:] == GAP_MS).all()
    clock = PartitionClock()
    for time in times.tolist():
        clock.read(array([time]), time)
    assert clock.position == 39 * 120_000  # the wall clock has seen the pauses


def test_the_wall_clock_bounds_a_clock_that_runs_fast() -> None:
    """A clock that runs a hundred times too fast gains a minute, and no more."""
    clock = PartitionClock()
    for second in range(600):
        now = START + 1000 * second
        clock.read(array([START + 100_000 * second, START + 100_000 * second + 50_000]), now)
    assert clock.position <= 599_000 + GAP_MS


def test_units_are_told_apart_by_size() -> None:
    """The same moment in seconds, ms, us and ns is the same; small numbers are ms."""
    moment = START // 1000
    given_ = array([moment, START, START * 1000, START * 1_000_000, 0, -1, 5, INT64.max])
    assert in_milliseconds(given_).tolist()[:7] == [START] * 4 + [0, -1, 5]
    assert in_milliseconds(given_[:0]).tolist() == []
