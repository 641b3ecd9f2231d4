"""A run: warm-up, then rounds of deciding, learning from what passed, and rebuilding."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.unseen.learner import Fitted, rebuild
from benchmarks.unseen.market import Market
from benchmarks.unseen.plan import UnseenPlan
from benchmarks.unseen.rules import Chooser, Rule
from stream.policy import Policy
from trainer.training.selection import selection_weights
from trainer.uncertainty.method import Rows


@dataclass(frozen=True, slots=True)
class Played:
    """What a rule decided.

    Attributes:
        passed_N: Whether each request of the rounds passed.
        explored_N: Whether it passed by exploration alone.
    """

    passed_N: npt.NDArray[np.bool_]
    explored_N: npt.NDArray[np.bool_]


def play(market: Market, rule: Rule, plan: UnseenPlan, seed: int) -> Played:
    """Run one rule on a market.

    Args:
        market: The requests.
        rule: The rule.
        plan: Sizes.
        seed: Seed of models and policy; the same for all rules of a market.
    """
    policy = Policy(rule.settings(plan, seed), market.tasks)
    chooser = Chooser(rule, plan, market.ids_NC[: plan.warm_rows])
    used_N = np.zeros(plan.requests, np.bool_)
    used_N[: plan.warm_rows] = True
    passed_N, propensity_N = used_N.copy(), np.ones(plan.requests)
    fitted: Fitted | None = None
    for number in range(plan.rounds):
        fitted = _learn(market, fitted, used_N, selection_weights(propensity_N, rule.clip), plan,
                        1000 * seed + number)  # fmt: skip
        chooser.use(fitted)
        start = plan.warm_rows + number * plan.round_rows
        rows = slice(start, start + plan.round_rows)
        scores_NT, spread_NT = chooser.predict(market.ids_NC[rows], 1000 * seed + number)
        made = policy.decide(market.hashes_N[rows], market.times_N[rows], scores_NT, spread_NT)
        passed_N[rows], propensity_N[rows] = made.passed_N, made.propensity_N
        used_N[rows] = True if rule.sees_all else made.passed_N
    rounds = slice(plan.warm_rows, None)
    return Played(passed_N[rounds], passed_N[rounds] & (propensity_N[rounds] < 1))


def _learn(
    market: Market,
    before: Fitted | None,
    used_N: npt.NDArray[np.bool_],
    weights_N: npt.NDArray[np.float32],
    plan: UnseenPlan,
    seed: int,
) -> Fitted:
    rows = Rows(market.ids_NC[used_N], market.targets_NT[used_N])
    return rebuild(before, rows, weights_N[used_N], plan, seed)
