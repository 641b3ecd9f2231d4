"""The stream's clock against hostile stamps: what `stream/policy/rate/clock.py` guarantees."""

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream.policy.rate.clock import (
    GAP_MS,
    LATE_MS,
    RUN,
    PartitionClock,
    StreamClock,
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
    times=stamps,
    partitions=st.lists(st.integers(0, 3), min_size=200, max_size=200),
    walls=st.lists(st.integers(-2_000, 20_000), min_size=200, max_size=200),
    cuts=st.lists(st.integers(0, 200), max_size=10),
)
def test_a_streams_time_does_not_depend_on_the_cutting_either(
    times: list[int], partitions: list[int], walls: list[int], cuts: list[int]
) -> None:
    """Partitions in any order, a wall clock that jumps: time is that of requests one by one."""
    count = len(times)
    changes = sorted({0, count, *(min(cut, count) for cut in cuts)})
    shown = dict(zip(changes, np.cumsum(walls).tolist(), strict=False))

    def play(edges: list[int]) -> npt.NDArray[np.int64]:
        clock, parts, now = StreamClock(), [np.empty(0, np.int64)], START
        for a, b in pairwise(edges):
            now = START + shown.get(a, now - START)
            part_N, own_N = clock.read(array(times[a:b]), array(partitions[a:b]), now)
            assert len(part_N) == len(own_N) == b - a
            parts.append(part_N)
        return np.concatenate(parts)

    whole_N = play(changes)
    assert (np.diff(whole_N, prepend=0) >= 0).all()
    assert np.array_equal(play(list(range(count + 1))), whole_N)


def test_weights_do_not_depend_on_the_cutting() -> None:
    """Over a minute of uneven partitions with garbage, chunks of any size give the same time."""
    generator = np.random.default_rng(3)
    count = 30_000
    second_N = np.sort(generator.integers(0, 60, count))
    times_N = START + 1000 * second_N + generator.integers(0, 1500, count)
    wrong_N = generator.random(count) < 0.02
    times_N[wrong_N] = generator.integers(0, 2**62, wrong_N.sum())
    partitions_N = generator.choice(5, count, p=[0.6, 0.2, 0.1, 0.09, 0.01])
    partitions_N[(partitions_N == 1) & (second_N > 20) & (second_N < 40)] = 0

    def play(sizes: list[int]) -> npt.NDArray[np.int64]:
        clock, parts = StreamClock(), []
        for second in range(60):
            inside = np.flatnonzero(second_N == second)
            cuts = [0, *np.cumsum(np.resize(sizes, len(inside))).tolist()]
            for a, b in pairwise(cuts):
                at = inside[a:b]
                if len(at):
                    now = START + 1000 * second
                    parts.append(clock.read(times_N[at], partitions_N[at], now)[0])
        return np.concatenate(parts)

    whole_N = play([count])
    assert whole_N[-1] == pytest.approx(60_000, rel=0.05)
    for sizes in ([1], [7, 300], [128]):
        assert np.array_equal(play(sizes), whole_N)


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


def run(
    clock: StreamClock, times: npt.NDArray[np.int64], partition: int, now: int
) -> npt.NDArray[np.int64]:
    return clock.read(times, np.full(len(times), partition), now)[0]


def test_partitions_that_are_read_out_of_step_share_the_time() -> None:
    """A backlog, one partition after the other, uneven ones: a minute of it is a minute."""
    clock, now = StreamClock(), START + DAY
    ends = []
    for minute in range(10):
        begin = START + 60_000 * minute
        run(clock, np.arange(begin, begin + 60_000, 20), 0, now + 3_000 * minute)
        ends.append(
            run(clock, np.arange(begin, begin + 60_000, 200), 1, now + 3_000 * minute + 1_500)[-1]
        )
    assert np.diff(ends)[2:] == pytest.approx(60_000, rel=0.03)


@pytest.mark.parametrize("stamp", [0, -1, START, 2**63 - 1])
def test_a_partition_without_usable_stamps_does_not_hold_the_others_back(stamp: int) -> None:
    """Beside a partition whose stamps stand still, time passes as on the others."""
    clock, ends = StreamClock(), []
    for second in range(40):
        now = START + 1000 * second
        run(clock, np.full(100, stamp), 1, now)
        ends.append(run(clock, np.arange(now, now + 1000, 10), 0, now)[-1])
    assert np.diff(ends)[8:] == pytest.approx(1_000)


@pytest.mark.parametrize("offset", [DAY, -DAY])
def test_a_partition_far_ahead_or_behind_counts_like_the_others(offset: int) -> None:
    """All stamps of one partition a day off: time passes at its own speed."""
    clock, ends = StreamClock(), []
    for second in range(40):
        now = START + 1000 * second
        run(clock, np.arange(now, now + 1000, 10) + offset, 1, now)
        ends.append(run(clock, np.arange(now, now + 1000, 10), 0, now)[-1])
    assert np.diff(ends)[3:] == pytest.approx(1_000, rel=0.02)


def test_where_no_stamp_can_be_used_time_is_that_of_arrival() -> None:
    """Stamps of -1 only, or at random: the wall clock's time passes; idle partitions wake up."""
    generator = np.random.default_rng(0)
    for draw in (lambda: np.full(50, -1), lambda: generator.integers(2**41, 2**46, 50)):
        clock = StreamClock()
        ends = [run(clock, draw(), 0, START + 1000 * second)[-1] for second in range(60)]
        assert np.diff(ends)[5:] == pytest.approx(1_000, abs=1)


def test_an_idle_partition_gives_its_part_to_the_others() -> None:
    """When one of two partitions falls silent, time soon passes by the other alone, and back."""
    clock, ends = StreamClock(), []
    for second in range(60):
        now = START + 1000 * second
        if not 20 <= second < 40:
            run(clock, np.arange(now, now + 1000, 10), 1, now)
        ends.append(run(clock, np.arange(now, now + 1000, 10), 0, now)[-1])
    steps = np.diff(ends)
    for settled in (steps[3:19], steps[26:39], steps[42:]):
        assert settled == pytest.approx(1_000, rel=0.02)
