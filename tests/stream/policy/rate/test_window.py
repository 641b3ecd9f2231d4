import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.policy.rate.window import FEWEST, SlidingWindow

cuts = st.lists(st.integers(1, 300), min_size=1, max_size=20)


@given(sizes=cuts, requests=st.integers(1, 200))
def test_the_window_is_the_tail_of_the_stream_at_every_step(
    sizes: list[int], requests: int
) -> None:
    """After every append the window holds exactly the last N values, in order."""
    window = SlidingWindow(requests)
    stream = np.arange(sum(sizes), dtype=np.float32)
    at = 0
    for size in sizes:
        window.append(stream[at : at + size], np.zeros(size, np.int64))
        at += size
        assert np.array_equal(window.values(), stream[:at][-requests:])


@given(sizes=cuts, steps=st.lists(st.integers(-500, 1000), min_size=1, max_size=30))
def test_age_is_measured_by_the_streams_own_clock(sizes: list[int], steps: list[int]) -> None:
    """Values older than T behind the greatest timestamp are out, but the newest few stay."""
    count = sum(sizes)
    times = np.cumsum(np.resize(steps, count)).astype(np.int64)
    clock = np.maximum.accumulate(times)
    stream = np.arange(count, dtype=np.float32)
    window = SlidingWindow(400, seconds=20.0)
    at = 0
    for size in sizes:
        window.append(stream[at : at + size], times[at : at + size])
        at += size
        fresh = int((clock[:at] > clock[at - 1] - 20_000).sum())
        kept = min(400, max(fresh, min(FEWEST, at)))
        assert np.array_equal(window.values(), stream[at - kept : at])


def test_what_the_newest_values_contradict_is_left_out() -> None:
    """Of equal and of steady values the whole window counts; after a step soon only what is new."""
    generator = np.random.default_rng(0)
    steady, window = generator.random(3000).astype(np.float32), SlidingWindow(1000)
    window.append(steady, np.zeros(3000, np.int64))
    assert np.array_equal(window.recent(0.3), np.sort(steady[-1000:]))
    stepped = generator.random(400).astype(np.float32) + 2.0
    window.append(stepped, np.zeros(400, np.int64))
    recent = window.recent(0.3)
    assert len(recent) == 250
    assert recent.min() >= 2.0
    window.append(np.full(1000, 0.25, np.float32), np.zeros(1000, np.int64))
    assert len(window.recent(0.3)) == 1000


@given(share=st.floats(0.0, 1.0), values=st.lists(st.floats(-1, 1, width=32), max_size=900))
def test_what_is_recent_is_the_tail_of_the_window(share: float, values: list[float]) -> None:
    """Whatever the values, they are the newest half, quarter or eighth of the window, or all."""
    window = SlidingWindow(900)
    stream = np.array(values, np.float32)
    window.append(stream, np.zeros(len(stream), np.int64))
    recent = window.recent(share)
    assert np.array_equal(recent, np.sort(stream[len(stream) - len(recent) :]))
    assert len(recent) >= min(len(stream), 2 * FEWEST)
