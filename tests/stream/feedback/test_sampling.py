"""Sampling of requests under a memory budget."""

import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.feedback.sampling import TARGET, RequestSampler

SIZE = 600
HOLD_MS = 64_000
START = 1_700_000_000_000


class Traffic:
    """Requests of one size that each stay for the whole hold, offered to a sampler."""

    def __init__(self, budget_requests: int) -> None:
        self.sampler = RequestSampler(budget_requests * SIZE, HOLD_MS)
        self.held: deque[int] = deque()
        self.now, self.number = START, 0
        self.offered = self.kept = self.overflown = 0
        self.weight = 0.0
        self.shares: list[float] = []

    def run(self, seconds: float, per_second: float) -> None:
        sampler = self.sampler
        for _ in range(int(seconds * 10)):
            self.now += 100
            while self.held and self.held[0] + HOLD_MS < self.now:
                sampler.release(SIZE, self.held.popleft())
            for _request in range(round(per_second / 10)):
                self._offer()
            sampler.adjust(self.now)
            self.shares.append(sampler.share)

    def _offer(self) -> None:
        sampler = self.sampler
        self.number += 1
        self.offered += 1
        sampler.arrived(SIZE, self.now)
        if not sampler.selects(b"%d" % self.number):
            return
        if not sampler.has_room(SIZE):
            self.overflown += 1
            return
        sampler.hold(SIZE, self.now)
        self.held.append(self.now)
        self.kept += 1
        self.weight += 1 / sampler.share


def test_everything_is_kept_while_it_fits() -> None:
    """Below half of the budget nothing is left out, whatever the rate for the moment."""
    traffic = Traffic(10_000)
    traffic.run(2, 1_500)
    traffic.run(100, 30)
    assert traffic.kept == traffic.offered


@pytest.mark.parametrize("per_second", [200, 700, 3_000])
def test_the_share_makes_the_budget_last(per_second: int) -> None:
    """Under three to forty times what fits, nothing overflows, and the weights add up to all."""
    traffic = Traffic(5_000)
    traffic.run(260, per_second)
    assert traffic.overflown == 0
    assert traffic.weight == pytest.approx(traffic.offered, rel=0.1)
    assert traffic.sampler.held_bytes > 0.4 * traffic.sampler.budget_bytes
    wanted = TARGET * 5_000 / (per_second * HOLD_MS / 1000)
    steady = traffic.shares[len(traffic.shares) // 2 :]
    assert wanted / 3 < sum(steady) / len(steady) <= 1.1 * wanted


def test_the_share_is_raised_again_when_there_is_room() -> None:
    """After a rush the share goes back to one, step by step."""
    traffic = Traffic(5_000)
    traffic.run(100, 700)
    assert traffic.sampler.share < 0.5
    traffic.run(150, 20)
    assert traffic.sampler.share == 1


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(0, 1500)), min_size=1, max_size=6),
    st.integers(50, 5_000),
)
def test_the_budget_holds_under_any_traffic(phases: list[tuple[int, int]], fits: int) -> None:
    """Whatever comes, what is held never exceeds the budget, and the account is exact."""
    traffic = Traffic(fits)
    for seconds, per_second in phases:
        traffic.run(seconds, per_second)
        assert traffic.sampler.held_bytes == SIZE * len(traffic.held) <= fits * SIZE


def test_a_smaller_share_is_a_part_of_a_larger_one() -> None:
    """The choice is by id alone: nested, the same every time, and about the share's size."""
    rng = random.Random(3)
    keys = [b"%d" % rng.randrange(2**60) for _ in range(8_000)]
    before = set(keys)
    for halvings in range(6):
        kept = {key for key in keys if RequestSampler(1, 1, halvings).selects(key)}
        assert kept <= before
        assert len(kept) == pytest.approx(8_000 / 2**halvings, rel=0.2)
        before = kept
