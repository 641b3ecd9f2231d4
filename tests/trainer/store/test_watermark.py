"""The store's watermark."""

from hypothesis import given
from hypothesis import strategies as st

from models.bounds import MAX_SKEW_MS
from trainer.store.watermark import Watermark

NOW = 1_790_000_000_000


def test_it_waits_until_the_outcomes_have_been_read() -> None:
    mark = Watermark(60_000, None, NOW)
    mark.tick(NOW, outcomes_read=True, examples_read=True)
    assert mark.ms is None
    mark.observe(NOW - 500, NOW)
    mark.tick(NOW + 1_000, outcomes_read=False, examples_read=True)
    assert mark.ms is None
    mark.tick(NOW + 1_000, outcomes_read=True, examples_read=False)
    assert mark.ms == NOW - 500
    mark.observe(NOW + 700, NOW + 1_000)
    mark.tick(NOW + 2_000, outcomes_read=False, examples_read=True)
    assert mark.ms == NOW - 500


def test_it_follows_the_clock_while_nothing_waits() -> None:
    """From the newest request on, and not while something waits to be read."""
    mark = Watermark(60_000, None, NOW)
    mark.observe(NOW - 500, NOW)
    mark.tick(NOW + 40_000, outcomes_read=True, examples_read=True)
    assert mark.ms == NOW + 39_500
    mark.tick(NOW + 90_000, outcomes_read=True, examples_read=False)
    mark.tick(NOW + 90_001, outcomes_read=True, examples_read=True)
    assert mark.ms == NOW + 39_501


def test_a_steady_stream_is_not_overtaken_by_the_clock() -> None:
    """Requests that are a minute old when they arrive keep the watermark a minute back."""
    mark = Watermark(600_000, None, NOW)
    for second in range(600):
        now = NOW + second * 1_000
        mark.observe(now - 60_000, now)
        mark.tick(now + 500, outcomes_read=True, examples_read=True)
    assert mark.ms is not None
    assert mark.ms <= NOW + 599 * 1_000 - 60_000 + 500


def test_a_wrong_clock_does_not_close_windows_for_good() -> None:
    """One request ahead moves it by the skew; a stored one far ahead of the clock is set back."""
    mark = Watermark(1_000, None, NOW)
    mark.observe(NOW, NOW)
    mark.observe(NOW + 500_000, NOW)
    mark.tick(NOW, outcomes_read=True, examples_read=True)
    assert mark.ms == NOW
    restored = Watermark(1_000, NOW + MAX_SKEW_MS + 1, NOW)
    restored.tick(NOW, outcomes_read=True, examples_read=True)
    assert restored.ms == NOW


@given(st.lists(st.tuples(st.integers(-(10**6), 10**6), st.booleans(), st.booleans()), max_size=60))
def test_it_never_goes_back_and_never_passes_the_newest_plausible_time(
    steps: list[tuple[int, bool, bool]],
) -> None:
    mark, now, last = Watermark(5_000, NOW - 10**6, NOW), NOW, NOW - 10**6
    for offset, outcomes_read, examples_read in steps:
        now += abs(offset) % 3_000
        if offset % 3:
            mark.observe(min(now + MAX_SKEW_MS, now + offset), now)
        mark.tick(now, outcomes_read=outcomes_read, examples_read=examples_read)
        assert mark.ms is not None
        assert last <= mark.ms <= now + MAX_SKEW_MS
        assert outcomes_read or mark.ms == last
        last = mark.ms
