"""The price of exploration is what the controller's own decisions lose by it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.messages import FleetState, RateSummary
from stream.policy.exploration_price import RewardDistribution
from stream.policy.fleet.mixer import Mixer
from stream.policy.rate.controller import InterceptionController, Target


def state(*workers: tuple[list[float], float]) -> FleetState:
    """The state of workers with these rewards and requests per second."""
    mixer = Mixer()
    for number, (rewards, per_second) in enumerate(workers):
        rewards_Q = np.sort(np.array(rewards, np.float32))
        one = RateSummary("*", str(number), 1, 0.0, 0.0, 0.0, 0.0, per_second, rewards_Q)
        mixer.receive(one, number, 0.0)
    (found,) = mixer.states(0.0, 0.0)
    return found


def test_the_price_is_what_the_controller_loses() -> None:
    """50,000 requests decided with and without exploring: the reward lost is the price stated."""
    rng = np.random.default_rng(0)
    reward_N = rng.lognormal(0.0, 1.0, 50_000).astype(np.float32)
    kept = {}
    for eps in (0.0, 0.02):
        controller = InterceptionController(Target(0.8, explore=eps), requests=50_000)
        found = controller.decide(reward_N, reward_N, np.arange(50_000), rng.random(50_000))
        kept[eps] = reward_N[found.passed_N].sum() / found.passed_N.sum()
        explored = (found.passed_N & ~found.chosen_N).sum() / found.passed_N.sum()
    rewards = RewardDistribution.of(state((controller.sample(256).tolist(), 1.0)))
    assert rewards is not None
    price = rewards.price(0.2, 0.02)
    assert price is not None
    assert price.lost == pytest.approx(1 - kept[0.02] / kept[0.0], abs=0.006)
    assert price.explored == pytest.approx(explored, abs=0.005)


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=30),
    st.floats(0.01, 1.0),
    st.floats(0.0, 1.0),
)
def test_a_price_lies_between_nothing_and_everything(
    rewards: list[float], passes: float, explore: float
) -> None:
    """It is 0 without exploring, never negative for rewards that are not, and rises with eps."""
    found = RewardDistribution.of(state((rewards, 1.0)))
    assert found is not None
    price, none = found.price(passes, explore), found.price(passes, 0.0)
    if price is None or none is None:
        return
    assert none.lost == pytest.approx(0.0, abs=1e-9)
    assert -1e-9 <= price.lost <= 1.0 + 1e-9
    assert 0.0 <= price.explored <= 1.0 + 1e-9
    more = found.price(passes, min(2 * explore, 1.0))
    assert more is not None
    assert more.lost >= price.lost - 1e-9


def test_workers_count_by_their_traffic() -> None:
    """One of nine times the traffic counts nine times; one without traffic or rewards not."""
    mixed = RewardDistribution.of(state(([1.0] * 4, 9.0), ([0.0], 1.0)))
    assert mixed is not None
    assert mixed.weights_M.sum() == pytest.approx(1.0)
    assert mixed.weights_M[mixed.rewards_M >= 0.5].sum() == pytest.approx(0.9)
    assert RewardDistribution.of(state(([], 1.0), ([3.0], 0.0))) is None
    assert RewardDistribution.of(None) is None


def test_no_price_without_passes_or_value() -> None:
    """Where nothing passes, or what passes is worth nothing, there is no share of it to lose."""
    found = RewardDistribution.of(state(([1.0, 2.0], 1.0)))
    worthless = RewardDistribution.of(state(([-1.0, 0.0], 1.0)))
    assert found is not None
    assert worthless is not None
    assert found.price(0.0, 0.1) is None
    assert worthless.price(0.5, 0.1) is None
