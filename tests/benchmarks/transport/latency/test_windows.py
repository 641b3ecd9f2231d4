"""A measurement begins when latencies have stopped to change, and not at all under overload."""

import numpy as np

from benchmarks.transport.latency.windows import Window, is_overloaded, is_warm


def windows(*p99s_ms: float) -> list[Window]:
    return [Window(1000, 0.5 * p99_ms, p99_ms) for p99_ms in p99s_ms]


def test_warm_are_three_windows_within_a_fifth() -> None:
    """Older windows do not matter, and two are too few."""
    assert is_warm(windows(90, 10, 12, 11))
    assert not is_warm(windows(10, 12.1, 11))
    assert not is_warm(windows(90, 10, 12))
    assert not is_warm(windows(10, 10))


def test_windows_without_requests_are_never_warm() -> None:
    """Nothing came through: there is no latency that could have stopped to change."""
    assert not is_warm([Window(0, 0.0, 0.0)] * 3)


def test_overloaded_is_a_long_queue_that_grows_or_stands_still() -> None:
    """A long queue that is being worked off is none."""
    assert is_overloaded([Window(9, 1900, 4000), Window(9, 4000, 5000)])
    assert is_overloaded([Window(9, 10, 20), Window(0, 0.0, 0.0)])
    assert not is_overloaded([Window(9, 5000, 6000), Window(9, 4000, 5000)])
    assert not is_overloaded([Window(9, 1000, 1200), Window(9, 1900, 2200)])
    assert not is_overloaded([Window(0, 0.0, 0.0), Window(0, 0.0, 0.0)])  # not started yet


def test_a_window_has_the_percentiles_of_its_latencies() -> None:
    """Nanoseconds in, milliseconds out."""
    window = Window.of(np.arange(1, 101, dtype=np.int64) * 1_000_000)
    assert (window.count, window.p50_ms) == (100, 50.5)
    assert 99 <= window.p99_ms <= 100
    assert Window.of(np.zeros(0, np.int64)) == Window(0, 0.0, 0.0)
