"""Value in the passed share: what passes, what it is worth, and the bounds of the difference."""

from dataclasses import replace

import numpy as np
import pytest

from models.settings import ScenarioSettings
from stream.policy.value.valuation import Valuation
from tests.trainer.gates.markets import FUNNEL, market
from trainer.gates.captured import Policy, passes
from trainer.gates.paired import interval

WEIGHTS = {"click": 1.0, "online": 1.0, "deal": 20.0}


def policy(reward: str = "weighted-sum", rate: float = 0.6) -> Policy:
    valuation = Valuation(ScenarioSettings(reward=reward, weights=WEIGHTS), FUNNEL)
    return Policy(lambda scores_NT, u_NT: valuation(scores_NT, u_NT)[0], rate)


def uncertainties(rows: int) -> tuple[np.ndarray, np.ndarray]:
    zeros = np.zeros((rows, 3), np.float32)
    return zeros, zeros


def test_the_best_pass_and_are_worth_their_labels() -> None:
    """A share 1 - r of the rows passes; the value is the settings' reward of the labels."""
    scored, _ = market(0, 1_000)
    found = passes(scored, policy(), uncertainties(1_000))
    assert found.candidate_N.sum() == found.serving_N.sum() == 400
    value_N = scored.labels_NT @ np.array([1.0, 1.0, 20.0])
    assert found.values_N == pytest.approx(value_N)
    assert (found.low, found.high) == (0, 22)
    best_N = np.argsort(-(FUNNEL.on_all_requests(scored.candidate_NT) @ [1.0, 1.0, 20.0]))[:400]
    assert found.captured(found.candidate_N) == pytest.approx(value_N[best_N].sum() / 1_000)


@pytest.mark.parametrize("reward", ["funnel-value", "deal * 20 + where(click > 0.5, online, 0)"])
def test_any_reward_of_the_settings_values_labels(reward: str) -> None:
    """Values lie in the range that all combinations of labels have."""
    scored, _ = market(0, 500)
    found = passes(scored, policy(reward), uncertainties(500))
    assert found.low <= found.values_N.min()
    assert found.values_N.max() <= found.high
    assert found.values_N.sum() > 0


def test_rows_with_an_unknown_label_have_no_value_yet() -> None:
    """They are left out."""
    scored, _ = market(0, 100)
    labels_NT = scored.labels_NT.copy()
    labels_NT[::2, 2] = np.nan
    found = passes(replace(scored, labels_NT=labels_NT), policy(), uncertainties(100))
    assert len(found.values_N) == 50


def test_a_loss_beyond_the_margin_is_seen_and_no_loss_is_shown() -> None:
    """Of scores without information almost surely, of a model against itself within 3 %."""
    scored, _ = market(0, 20_000)
    same = replace(scored, candidate_NT=scored.serving_NT)
    equal = passes(same, policy(), uncertainties(20_000))
    assert interval(equal.differences(0.03), 0.001).low > 0
    rng = np.random.default_rng(0)
    blind = replace(scored, candidate_NT=rng.random(scored.candidate_NT.shape))
    worse = passes(blind, policy(), uncertainties(20_000))
    assert interval(worse.differences(0.03), 0.001).high < 0


def test_the_bounds_cover() -> None:
    """At level 0.1 the lower bound is above the true difference in at most a tenth of the runs."""
    missed = 0
    for seed in range(100):
        scored, true_NT = market(seed, 1_000, candidate_error=0.8)
        found = passes(scored, policy(), uncertainties(1_000))
        gain_N = found.candidate_N - 1.0 * found.serving_N
        truth = (gain_N * (FUNNEL.on_all_requests(true_NT) @ [1.0, 1.0, 20.0])).mean()
        missed += interval(found.differences(0.0), 0.1).low > truth
    assert missed <= 18
