"""The verdict on a version that serves: poison is found, and a good version is left alone."""

from collections.abc import Callable

import numpy as np
import pytest

from models.tasks import Task, TaskSet
from trainer.watch.verdict import Finding, Verdict, Watched, WatchLimits, judge

TASKS = TaskSet(
    [
        Task(name="click", window_s=60),
        Task(name="online", population="click", window_s=60),
        Task(name="deal", window_s=60),
    ]
)
VALUES_T = np.array([1.0, 0.0, 2.0])
BASE_T = np.array([-3.0, -1.0, -5.0])
WEIGHTS_TF = np.array([[1.0, 0.6], [0.7, -0.5], [0.9, 0.8]])
ROWS = 60_000


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class Market:
    """Requests with two features; a fifth of them passes by the version's own scores."""

    def __init__(self, seed: int, drift: float = 0.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.features_NF = self.rng.normal(size=(ROWS, 2))
        self.true_NT = self.logits(self.features_NF)
        self.drift = drift

    @staticmethod
    def logits(features_NF: np.ndarray) -> np.ndarray:
        return features_NF @ WEIGHTS_TF.T + BASE_T

    def noisy(self, logits_NT: np.ndarray) -> np.ndarray:
        """Scores of a model whose logits are off by 0.25."""
        return sigmoid(logits_NT + 0.25 * self.rng.normal(size=logits_NT.shape))

    def passed(self, scores_NT: np.ndarray) -> Watched:
        reward_N = scores_NT @ VALUES_T
        at_K = np.sort(np.argsort(-reward_N)[: ROWS // 5])
        true_KT = sigmoid(self.true_NT[at_K] + self.drift)
        labels_KT = (self.rng.random(true_KT.shape) < true_KT).astype(np.float64)
        previous_KT = self.noisy(self.true_NT[at_K])
        return Watched(scores_NT[at_K], previous_KT, labels_KT, VALUES_T)


def swapped(market: Market) -> np.ndarray:
    return market.noisy(market.logits(market.features_NF[:, ::-1]))


def inverted(market: Market) -> np.ndarray:
    logits_NT = market.true_NT.copy()
    logits_NT[:, 0] = 2 * BASE_T[0] - logits_NT[:, 0]
    return market.noisy(logits_NT)


def too_high(market: Market) -> np.ndarray:
    return np.clip(1.5 * market.noisy(market.true_NT), 0, 1)


def too_low(market: Market) -> np.ndarray:
    return market.noisy(market.true_NT) / 1.5


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("poison", [swapped, inverted, too_high, too_low])
def test_a_poisoned_version_is_found_within_ten_thousand_requests(
    poison: Callable[[Market], np.ndarray], seed: int
) -> None:
    market = Market(seed)
    broken = judge(market.passed(poison(market)), TASKS, WatchLimits()).broken
    assert broken
    assert broken[0].passed <= 10_000


@pytest.mark.parametrize("seed", range(3))
def test_a_version_as_good_as_the_one_before_is_left_alone(seed: int) -> None:
    market = Market(seed)
    verdict = judge(market.passed(market.noisy(market.true_NT)), TASKS, WatchLimits())
    assert not verdict.broken
    assert verdict.rows == ROWS // 5
    for finding in verdict.findings:
        low, high = finding.bounds
        assert low <= finding.found <= high or finding.promise == "log-loss"


@pytest.mark.parametrize("drift", [-0.5, 0.5])
def test_a_market_that_changes_is_nobodys_fault(drift: float) -> None:
    """Events are 0.6 or 1.6 times what both versions say."""
    market = Market(5, drift)
    watched = market.passed(market.noisy(market.true_NT))
    calibration = judge(watched, TASKS, WatchLimits()).findings[0]
    assert abs(np.log(calibration.found)) > 0.3
    assert calibration.kept


def test_outcomes_that_do_not_come_are_nobodys_fault() -> None:
    """Without any event both versions are off, and no version before would do better."""
    market = Market(6)
    watched = market.passed(market.noisy(market.true_NT))
    silent = Watched(
        watched.scores_NT, watched.previous_NT, np.zeros_like(watched.labels_NT), VALUES_T
    )
    assert not judge(silent, TASKS, WatchLimits()).broken


def test_only_final_labels_of_the_population_count() -> None:
    market = Market(7)
    watched = market.passed(market.noisy(market.true_NT))
    watched.labels_NT[1000:, 2] = np.nan
    findings = {(f.promise, f.task): f for f in judge(watched, TASKS, WatchLimits()).findings}
    clicks = int(watched.labels_NT[:, 0].sum())
    assert findings["calibration", "click"].rows == ROWS // 5
    assert findings["calibration", "online"].rows == clicks
    assert findings["calibration", "deal"].rows == 1000
    assert findings["reward", ""].rows == 1000


def test_what_was_found_stays_found_as_rows_are_added() -> None:
    """A longer watch sees the same first rows, so it breaks at the same row."""
    market = Market(8)
    watched = market.passed(swapped(market))
    first = judge(watched, TASKS, WatchLimits()).broken[0]
    start = Watched(
        watched.scores_NT[: first.passed],
        watched.previous_NT[: first.passed],
        watched.labels_NT[: first.passed],
        VALUES_T,
    )
    assert judge(start, TASKS, WatchLimits()).broken[0].passed == first.passed


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows_say_nothing(rows: int) -> None:
    scores_NT = np.full((rows, 3), 0.2)
    verdict = judge(
        Watched(scores_NT, scores_NT, np.ones((rows, 3)), VALUES_T), TASKS, WatchLimits()
    )
    assert not verdict.broken
    assert verdict.rows == rows


def test_rewards_may_have_penalties_and_none() -> None:
    scores_NT, labels_NT = np.full((5000, 3), 0.2), np.zeros((5000, 3))
    negative = Watched(scores_NT, scores_NT, labels_NT, np.array([-1.0, 0.0, -2.0]))
    assert all(f.kept for f in judge(negative, TASKS, WatchLimits()).findings if f.task == "")
    none = Watched(scores_NT, scores_NT, labels_NT, np.zeros(3))
    assert {f.promise for f in judge(none, TASKS, WatchLimits()).findings} == {
        "calibration",
        "log-loss",
    }


def test_the_evidence_names_figures_and_survives_json() -> None:
    market = Market(9)
    verdict = judge(market.passed(too_high(market)), TASKS, WatchLimits())
    read = Verdict.model_validate_json(verdict.model_dump_json())
    assert [str(f) for f in read.broken] == [str(f) for f in verdict.broken]
    text = str(verdict.broken[0])
    assert "0.85" in text
    assert "version before" in text
    assert isinstance(verdict.broken[0], Finding)
