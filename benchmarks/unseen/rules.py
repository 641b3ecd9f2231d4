"""The rules that are compared: how a model's predictions become scores and uncertainties.

Decisions are the policy's own (``stream/policy``), at the same r for every rule; a rule chooses
which score s and uncertainty u it is given, h, and the share of exploration.

M weight sets, N requests, T tasks.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from benchmarks.unseen.learner import LAYOUT, Fitted, count_spread, source_spread
from benchmarks.unseen.plan import UnseenPlan
from models.settings import PolicySettings
from trainer.uncertainty import METHODS
from trainer.uncertainty.method import Estimator, Float32Array, Ids

Scores = Literal["mean", "per-request"]
Spread = Literal["none", "swag", "confirmed", "count", "sources"]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of exploration.

    Attributes:
        scores: Those at the mean of SWAG's snapshots, or, as in Thompson sampling, those of one
            weight set that is drawn per request.
        spread: Method of u; t = s + kappa u.
        kappa: Weight of u.
        explore: Share eps of the requests that would be blocked which passes at random.
        clip: Greatest weight of a row by its inverse propensity.
        sees_all: Whether the model learns from all requests, blocked ones included.
    """

    scores: Scores = "mean"
    spread: Spread = "none"
    kappa: float = 0.0
    explore: float = 0.0
    clip: float = 1.0
    sees_all: bool = False

    def settings(self, plan: UnseenPlan, seed: int) -> PolicySettings:
        """Settings of the policy."""
        return PolicySettings(
            rate=plan.rate,
            confidence="score" if self.spread == "none" else "optimistic",
            kappa=self.kappa,
            explore=self.explore,
            direct_share=0.0,
            seed=seed,
        )


RULES: Final = {
    "greedy": Rule(),
    "oracle": Rule(sees_all=True),
    "sources-0.25": Rule(spread="sources", kappa=0.25),
    "explore-0.01": Rule(explore=0.01),
    "explore-0.01-weighted": Rule(explore=0.01, clip=10.0),
    "thompson": Rule("per-request"),
    "optimistic-1": Rule(spread="swag", kappa=1.0),
    "count-4": Rule(spread="count", kappa=4.0),
    "confirmed-1": Rule(spread="confirmed", kappa=1.0),
}
"""A number at the end is eps or kappa. ``oracle`` passes by score alone, as ``greedy`` does, but
learns from every request's outcome."""


class Chooser:
    """Scores and uncertainties under one rule.

    Args:
        rule: The rule.
        plan: Sizes.
        warm_NC: Feature ids of the requests before the first round; no other ids are known.
    """

    def __init__(self, rule: Rule, plan: UnseenPlan, warm_NC: Ids) -> None:
        self._new_R = np.ones(LAYOUT.rows, np.bool_)
        self._new_R[np.unique(warm_NC)] = False
        self._rule, self._plan = rule, plan
        self._fits = 0
        self._confirmed: Estimator | None = None
        self._fitted: Fitted | None = None
        self._information_RT: Float32Array = np.zeros((0, 0), np.float32)

    def use(self, fitted: Fitted) -> None:
        """Use the model of the newest rebuild."""
        self._fitted = fitted
        if self._rule.spread in ("count", "sources"):
            self._information_RT = fitted.information()
        if self._rule.spread == "confirmed" and self._fits % self._plan.confirmed_every == 0:
            self._confirmed = METHODS["confirmed"](fitted.lab(self._plan))
        self._fits += 1

    def predict(self, ids_NC: Ids, seed: int) -> tuple[Float32Array, Float32Array]:
        """Scores and uncertainties of the next N requests, each (N, T).

        Args:
            ids_NC: Feature ids.
            seed: Seed of the draw of weight sets.
        """
        if self._fitted is None:
            raise RuntimeError("no model is in use; call use() first")
        if self._rule.scores == "per-request":
            by_set_MNT = self._fitted.by_set(ids_NC)
            set_N = draw_sets(len(ids_NC), len(by_set_MNT), seed)
            drawn_NT = by_set_MNT[set_N, np.arange(len(ids_NC))]
            return drawn_NT, np.zeros_like(drawn_NT)
        mean_NT = self._fitted.scores(ids_NC)
        return mean_NT, self._spread(self._fitted, ids_NC, mean_NT)

    def _spread(self, fitted: Fitted, ids_NC: Ids, mean_NT: Float32Array) -> Float32Array:
        match self._rule.spread:
            case "swag":
                std_NT: Float32Array = fitted.by_set(ids_NC).std(axis=0)
                return std_NT
            case "count":
                return count_spread(self._information_RT, ids_NC, mean_NT)
            case "sources":
                return source_spread(self._information_RT, self._new_R, ids_NC, mean_NT)
            case "confirmed" if self._confirmed is not None:
                return self._confirmed.predict(ids_NC).epistemic_NT
            case _:
                return np.zeros_like(mean_NT)


def draw_sets(rows: int, sets: int, seed: int) -> "np.ndarray":
    """Which weight set scores each request, an own draw for each; int64 (N,)."""
    return np.random.default_rng(seed).integers(0, sets, rows)
