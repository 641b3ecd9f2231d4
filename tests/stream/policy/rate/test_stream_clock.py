from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.policy.rate.stream_clock import StreamClock
from tests.stream.policy.rate.test_partition_clock import DAY, START, array, stamps


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
