"""Reward f (eq. 8): the expected value of a request, e = f(t_1 .. t_T).

Built in are a weighted sum and the expected value of the funnel; anything else is an arithmetic
expression of the task names (see :mod:`stream.policy.value.expression`).
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from models.tasks import TaskSet
from stream.policy.errors import PolicyError
from stream.policy.value.expression import Expression

Reward = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Maps t_NT, each task on its own population, to e_N; both float32."""
RewardFunction = Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]
"""A function of one's own from t_NT to N numbers, of each row by itself."""


def build_reward(kind: str, weights: Mapping[str, float], tasks: TaskSet) -> Reward:
    """The reward that the settings ask for.

    - ``weighted-sum``: e = sum_i w_i t_i, every t over *all* requests.
    - ``funnel-value``: the expected value of the deepest step that the request reaches, w_i being
      the value of getting as far as step i (see :func:`_funnel_value`).
    - anything else: an expression of the task names; there each name is t on the task's own
      population, so that ``click * online`` is the share of all requests that lands.

    Args:
        kind: ``weighted-sum``, ``funnel-value`` or an expression.
        weights: Weight or value per task; a task without one weighs 0 (adds no value).
        tasks: The tasks, in funnel order.

    Raises:
        PolicyError: If a weight names no task, or values fall along the funnel.
        ExpressionError: If the expression is not one; names the column.
    """
    for name in weights:
        if name not in tasks.names:
            raise PolicyError(
                f"policy.weights: {name!r} is not a task; the tasks are {', '.join(tasks.names)}"
            )
    if kind == "weighted-sum":
        return _weighted_sum(weights, tasks)
    if kind == "funnel-value":
        return _funnel_value(weights, tasks)
    expression = Expression(kind, tasks.names)

    def evaluate(t_NT: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with np.errstate(over="ignore"):
            return expression(np.ascontiguousarray(t_NT.T, np.float64)).astype(np.float32)

    return evaluate


def checked_reward(function: RewardFunction) -> Reward:
    """A function of one's own as a reward; what it returns is checked at every call.

    Args:
        function: Maps t_NT (float32) to N numbers. Each must depend on its own row only, or
            decisions would depend on how the stream is split into batches. NaN ranks last.

    Raises:
        PolicyError: From the reward, if the function returns anything but N numbers.
    """

    def evaluate(t_NT: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        e_N = np.asarray(function(t_NT))
        if e_N.shape != t_NT.shape[:1] or e_N.dtype.kind not in "fiub":
            raise PolicyError(
                f"reward: the function returned {e_N.dtype} of shape {e_N.shape} for t_NT of shape "
                f"{t_NT.shape}; it must return one number per row, shape {t_NT.shape[:1]}"
            )
        with np.errstate(over="ignore"):
            return e_N.astype(np.float32)

    return evaluate


def weigh(
    values_NT: npt.NDArray[np.float32], weights_T: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """sum_i w_i x_i per row, added in task order for any N and memory layout.

    (A matrix product may round differently for one row than for many; decisions would then depend
    on how the stream is split into batches.)
    """
    total_N: npt.NDArray[np.float32] = values_NT[:, 0] * weights_T[0]
    for column in range(1, len(weights_T)):
        total_N += values_NT[:, column] * weights_T[column]
    return total_N


def _weighted_sum(weights: Mapping[str, float], tasks: TaskSet) -> Reward:
    weights_T = np.array([weights.get(name, 0.0) for name in tasks.names], np.float32)

    def evaluate(t_NT: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return weigh(tasks.on_all_requests(t_NT), weights_T)

    return evaluate


def _funnel_value(values: Mapping[str, float], tasks: TaskSet) -> Reward:
    """E[value of the deepest step reached] = sum_i (v_i - v_{i-1}) P(at least as deep as i).

    The steps are the tasks in order, v_i their values, which must not fall; a task without a
    value has that of the step before. A request counts as being at least as deep as i when it is
    at i or at any later step, so P is the greatest t over all requests among i and later.
    """
    gains = []
    before = 0.0
    for name in tasks.names:
        value = values.get(name, before)
        if value < before:
            raise PolicyError(
                f"policy.weights.{name}: {value:g} is less than the {before:g} of the step "
                "before; values of a funnel must not fall (or use policy.reward = 'weighted-sum')"
            )
        gains.append(value - before)
        before = value
    gains_T = np.array(gains, np.float32)

    def evaluate(t_NT: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        reached_NT = tasks.on_all_requests(t_NT)
        deep_NT = np.maximum.accumulate(reached_NT[:, ::-1], axis=1)[:, ::-1]
        return weigh(deep_NT, gains_T)

    return evaluate
