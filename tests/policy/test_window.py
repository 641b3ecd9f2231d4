import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stream.policy.window import FEWEST, SlidingWindow

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


def test_a_restored_window_goes_on_as_the_original() -> None:
    """A snapshot survives JSON and carries values, times and clock."""
    generator = np.random.default_rng(0)
    values = generator.random(900).astype(np.float32)
    times = np.cumsum(generator.integers(0, 100, 900))
    one = SlidingWindow(300, seconds=10.0)
    one.append(values[:600], times[:600])
    two = SlidingWindow(300, seconds=10.0)
    two.restore(json.loads(json.dumps(one.snapshot())))
    for window in (one, two):
        window.append(values[600:], times[600:])
    assert len(one.values()) < 300
    assert np.array_equal(one.values(), two.values())
