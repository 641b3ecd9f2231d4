"""The error over all candidates holds when held ones are tried again on newer rows."""

from collections.abc import Callable

import numpy as np

from tests.trainer.gates.markets import ONE, sigmoid
from trainer.gates.log_loss import Scored, joint_differences
from trainer.gates.paired import lower_path
from trainer.gates.spending import spent_by

ALPHA = 0.05
CANDIDATES = 500
MARKETS = 8
LOOKS = (400, 800, 1600)
"""Rows of a first trial, and newer rows of both retests."""


class Market:
    """A serving model, rows whose labels come later and later, and candidates no better."""

    def __init__(self, seed: int, error: float = 0.3) -> None:
        self.rng = np.random.default_rng(seed)
        rows = sum(LOOKS)
        self.logits_N = self.rng.standard_normal(rows) - 1
        self.labels_N = (self.rng.random(rows) < sigmoid(self.logits_N)).astype(np.float64)
        self.serving_N = sigmoid(self.logits_N + error * self.rng.standard_normal(rows))

    def candidate(self, error: float) -> np.ndarray:
        """Scores whose errors are as large as the serving model's, or a little larger."""
        noise_N = self.rng.standard_normal(len(self.logits_N))
        return np.asarray(sigmoid(self.logits_N + error * noise_N))

    def is_accepted(self, scores_N: np.ndarray, look: int, level: float) -> bool:
        """Whether a look, at the rows that came since the last one, finds it better."""
        first = sum(LOOKS[:look])
        span = slice(first, first + LOOKS[look])
        scored = Scored(
            scores_N[span, None], self.serving_N[span, None], self.labels_N[span, None], ONE
        )
        return bool((lower_path(joint_differences(scored), level) > 0).any())


def accepted(seed: int, level: Callable[[int], float]) -> list[bool]:
    """Whether each of 500 candidates was ever accepted; every held one is tried again twice.

    Trials are numbered in the order in which they are held: a retest comes two candidates later,
    when its rows have matured. Each is watched after every row.
    """
    market = Market(seed)
    waiting: list[tuple[int, np.ndarray, int]] = []
    found, trial = [], 0
    for number in range(CANDIDATES + 2 * len(LOOKS)):
        if number < CANDIDATES:
            waiting.append((number, market.candidate(0.3 if number % 2 else 0.32), 0))
            found.append(False)
        ready = [each for each in waiting if each[0] + 2 * each[2] == number]
        waiting = [each for each in waiting if each[0] + 2 * each[2] != number]
        for made, scores_N, look in ready:
            trial += 1
            if market.is_accepted(scores_N, look, level(trial)):
                found[made] = True
            elif look + 1 < len(LOOKS):
                waiting.append((made, scores_N, look + 1))
    assert not waiting
    assert trial > 2 * CANDIDATES
    return found


def test_no_worse_candidate_gets_in_by_being_tried_again() -> None:
    """Hardly a market accepts any of 500; without the levels, one would accept some."""
    every = [accepted(seed, lambda trial: spent_by(trial, ALPHA)) for seed in range(MARKETS)]
    assert sum(map(any, every)) <= 1
    assert np.mean(every) <= 0.02
    naive = accepted(0, lambda _: ALPHA)
    assert np.mean(naive) > 0.02


def test_a_better_candidate_that_was_held_gets_in_later() -> None:
    """Half the error: too few rows at first, enough at the last look, as the tenth candidate."""
    early = late = 0
    for seed in range(20):
        market = Market(100 + seed, error=0.8)
        scores_N = market.candidate(0.0)
        early += market.is_accepted(scores_N, 0, spent_by(10, ALPHA))
        late += market.is_accepted(scores_N, 2, spent_by(30, ALPHA))
    assert early < late
    assert late >= 10
