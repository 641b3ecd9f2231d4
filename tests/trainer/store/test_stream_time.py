"""Stream time."""

import random

from hypothesis import given
from hypothesis import strategies as st

from trainer.store.stream_time import QUORUM, RECENT, StreamTime

START = 1_700_000_000_000
DAY_MS = 86_400_000
SKEW_MS = 600_000


def test_one_stamp_does_not_move_time() -> None:
    """A request a year ahead, and a few more in a row, leave the watermark within the skew."""
    time = StreamTime(SKEW_MS)
    for number in range(200):
        time.observe(START + number)
        if number % 10 == 5:
            time.observe(START + 365 * DAY_MS)
    assert time.watermark == START + 199


@given(st.integers(0, 2**32), st.integers(1, RECENT - QUORUM))
def test_a_minority_of_wrong_stamps_is_not_followed(seed: int, wrong: int) -> None:
    """Stamps that creep ahead by what is believed each time get no further than that once."""
    rng, time, newest = random.Random(seed), StreamTime(SKEW_MS, START), START
    for _round in range(20):
        batch = [False] * (RECENT - wrong) + [True] * wrong
        # So that no window of witnesses has more wrong ones than one round.
        for is_wrong in batch:
            assert time.watermark is not None
            if is_wrong:
                time.observe(time.watermark + rng.randrange(2 * SKEW_MS))
            else:
                newest += rng.randrange(1000)
                time.observe(newest)
    assert time.watermark is not None
    assert newest <= time.watermark <= newest + SKEW_MS


def test_a_replay_that_jumps_is_followed_after_a_quorum() -> None:
    """Traffic of another day moves time on once most requests are of it; until then it waits."""
    time = StreamTime(SKEW_MS)
    for number in range(RECENT):
        time.observe(START + number)
    for number in range(QUORUM):
        assert time.watermark == START + RECENT - 1
        time.observe(START + 9 * DAY_MS + number)
    assert time.watermark == START + 9 * DAY_MS + QUORUM - 1


def test_time_never_goes_back_and_passes_with_the_clock() -> None:
    """Older requests change nothing; a wrong time that was stored is limited to the clock."""
    time = StreamTime(SKEW_MS)
    time.advance(5)
    assert time.watermark is None
    time.observe(START)
    time.observe(0)
    time.advance(7)
    assert time.watermark == START + 7
    wrong = StreamTime(SKEW_MS, START + 365 * DAY_MS)
    wrong.limit_to_clock(START)
    wrong.observe(START + 3)
    assert wrong.watermark == START + 3
