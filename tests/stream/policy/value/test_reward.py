from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tasks import DEFAULT_TASKS
from stream.policy.errors import PolicyError
from stream.policy.value.reward import build_reward, checked_reward

WEIGHTS = {"click": 1.0, "online": 2.0, "cart": 5.0, "deal": 20.0}
tables = st.lists(st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4), min_size=1)


@given(table=tables)
def test_weighted_sum_weighs_probabilities_over_all_requests(table: list[list[float]]) -> None:
    """Each row gives w.t, with online's t multiplied by its population's."""
    rewards = build_reward("weighted-sum", WEIGHTS, DEFAULT_TASKS)(np.array(table, np.float32))
    for (click, online, cart, deal), reward in zip(table, rewards, strict=True):
        assert reward == pytest.approx(click + 2 * click * online + 5 * cart + 20 * deal, rel=1e-5)


@given(table=tables)
def test_funnel_value_is_the_expected_value_of_the_deepest_step(
    table: list[list[float]],
) -> None:
    """Summing over the deepest step reached, value times probability, gives the same."""
    rewards = build_reward("funnel-value", WEIGHTS, DEFAULT_TASKS)(np.array(table, np.float32))
    for (click, online, cart, deal), reward in zip(table, rewards, strict=True):
        reached = [click, click * online, cart, deal]
        deep = [max(reached[i:]) for i in range(4)]
        deepest = [deep[i] - (deep[i + 1] if i < 3 else 0.0) for i in range(4)]
        expected = sum(p * v for p, v in zip(deepest, (1, 2, 5, 20), strict=True))
        assert reward == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_a_certain_sale_is_worth_its_value_and_no_more() -> None:
    """A request that surely reaches the end is worth the end's value, not the sum of steps."""
    f = build_reward("funnel-value", WEIGHTS, DEFAULT_TASKS)
    assert f(np.ones((1, 4), np.float32)).tolist() == [20.0]


def test_an_expression_sees_each_task_on_its_own_population() -> None:
    """In an expression a name is t as the student gives it."""
    f = build_reward("deal * 20 + online", {}, DEFAULT_TASKS)
    assert f(np.array([[0.5, 0.25, 0, 0.5]], np.float32)).tolist() == [10.25]


def test_rounding_does_not_depend_on_the_batch() -> None:
    """A row's reward is bit for bit the same alone, in a batch, and in another memory layout."""
    t = np.random.default_rng(0).random((257, 4)).astype(np.float32)
    for kind in ("weighted-sum", "funnel-value", "exp(deal) * log(cart) + click ** 0.3"):
        f = build_reward(kind, WEIGHTS, DEFAULT_TASKS)
        together = f(t)
        assert np.array_equal(together, np.concatenate([f(t[i : i + 1]) for i in range(257)]))
        assert np.array_equal(together, f(np.asfortranarray(t)))


def test_falling_values_are_refused() -> None:
    """A funnel whose later step is worth less is refused, naming the step."""
    with pytest.raises(PolicyError, match=r"policy\.weights\.cart: 1 is less than the 3 of"):
        build_reward("funnel-value", {"click": 3.0, "cart": 1.0}, DEFAULT_TASKS)


def test_a_weight_of_no_task_is_refused() -> None:
    """A weight for a task that does not exist is refused with the tasks that do."""
    with pytest.raises(PolicyError, match="'sale' is not a task; the tasks are click, online"):
        build_reward("weighted-sum", {"sale": 3.0}, DEFAULT_TASKS)


def test_a_function_of_ones_own_is_a_reward() -> None:
    """It gets t_NT, and what it returns becomes float32."""
    t = np.random.default_rng(0).random((5, 4)).astype(np.float32)
    e = checked_reward(lambda t_NT: t_NT[:, 3].astype(np.float64) * 2)(t)
    assert e.dtype == np.float32
    assert np.array_equal(e, t[:, 3] * 2)


@pytest.mark.parametrize(
    "function",
    [
        lambda t_NT: t_NT,
        lambda t_NT: t_NT.sum(),
        lambda t_NT: ["a"] * len(t_NT),
        lambda _t_NT: None,
        lambda t_NT: t_NT[:-1, 0],
        lambda t_NT: t_NT[:, 0] + 1j,
    ],
)
def test_a_function_that_returns_anything_but_a_number_per_row_is_refused(function: Any) -> None:
    """The error has the shape that is needed, and the one that was returned."""
    with pytest.raises(PolicyError, match=r"one number per row, shape \(3,\)"):
        checked_reward(function)(np.zeros((3, 4), np.float32))
