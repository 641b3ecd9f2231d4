"""Outcome value in the passed share: does the candidate pass what is worth as much?

Each model's rewards rank the held-out rows, and its best (1 - r) of them pass. Which rows pass
depends on scores alone, so the difference of a row is its pass times the value of its labels, and
the exact bounds of :mod:`trainer.gates.paired` hold.

N rows, T tasks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.tasks import TaskSet
from trainer.gates.log_loss import Scored
from trainer.gates.paired import Differences, Floats

Floats32 = npt.NDArray[np.float32]
Reward = Callable[[Floats32, Floats32], Floats32]
"""Rewards e_N of scores s_NT and uncertainties u_NT; of labels and zeros, the outcome value."""
MOST_COMBINED: Final = 12
"""Tasks up to which all combinations of labels are tried for the range of the value."""
DRAWS: Final = 16
"""Draws of labels from which the variance of a row's value is predicted."""


@dataclass(frozen=True, slots=True)
class Policy:
    """How requests pass.

    Attributes:
        reward: The settings' h and f together.
        rate: Intercepted share.
    """

    reward: Reward
    rate: float

    def passes(self, scores_NT: Floats32, uncertainties_NT: Floats32) -> npt.NDArray[np.bool_]:
        """The rows of the best rewards; among equal ones the earlier rows."""
        reward_N = self.reward(scores_NT, uncertainties_NT)
        passed_N = np.zeros(len(reward_N), np.bool_)
        budget = round((1 - self.rate) * len(reward_N))
        passed_N[np.argsort(-reward_N, kind="stable")[:budget]] = True
        return passed_N

    def value(self, labels_NT: npt.NDArray[np.floating[Any]]) -> Floats:
        """True outcome value of rows whose labels are all known."""
        labels_32 = labels_NT.astype(np.float32)
        return np.nan_to_num(self.reward(labels_32, np.zeros_like(labels_32)).astype(np.float64))


@dataclass(frozen=True, slots=True)
class Passes:
    """Rows with all labels known: their value, and whether they pass under each model.

    Attributes:
        values_N: Outcome value.
        predicted_N: Value that both models' mean scores predict.
        variances_N: Variance of the value that they predict.
        low: Least possible value of a row.
        high: Largest possible value of a row.
        candidate_N: Whether the row passes under the candidate.
        serving_N: Whether it passes under the serving model.
        weights_N: Known weight of each row; None if all are equal.
    """

    values_N: Floats
    predicted_N: Floats
    variances_N: Floats
    low: float
    high: float
    candidate_N: npt.NDArray[np.bool_]
    serving_N: npt.NDArray[np.bool_]
    weights_N: Floats | None = None

    def captured(self, passed_N: npt.NDArray[np.bool_]) -> float:
        """Mean value per row that passes."""
        weights_N = np.ones(len(self.values_N)) if self.weights_N is None else self.weights_N
        return float((self.values_N * weights_N)[passed_N].sum() / max(weights_N.sum(), 1e-300))

    def differences(self, margin: float) -> Differences:
        """Value passed by the candidate minus (1 - margin) of that by the serving model, per row.

        Its mean is above 0 if the candidate captures more than that share of the value.
        """
        gain_N = self.candidate_N - (1 - margin) * self.serving_N.astype(np.float64)
        ends_2N = np.stack([gain_N * self.low, gain_N * self.high])
        return Differences(
            values_N=gain_N * self.values_N,
            centres_N=gain_N * self.predicted_N,
            lows_N=ends_2N.min(axis=0),
            highs_N=ends_2N.max(axis=0),
            variances_N=gain_N**2 * self.variances_N,
        ).weighted(self.weights_N)


def passes(scored: Scored, policy: Policy, uncertainties: tuple[Floats32, Floats32]) -> Passes:
    """The rows with all labels known, under both models.

    Args:
        scored: Held-out rows with the scores of both models.
        policy: How requests pass.
        uncertainties: Those of the candidate and of the serving model, each (N, T).
    """
    known_N = ~np.isnan(scored.labels_NT).any(axis=1)
    candidate_NT, serving_NT = (
        scores_NT[known_N].astype(np.float32)
        for scores_NT in (scored.candidate_NT, scored.serving_NT)
    )
    values_N = policy.value(scored.labels_NT[known_N])
    low, high = _value_range(policy, len(scored.tasks), values_N)
    mean_NT = ((candidate_NT + serving_NT) / 2).astype(np.float32)
    predicted_N = np.nan_to_num(policy.reward(mean_NT, np.zeros_like(mean_NT)).astype(np.float64))
    return Passes(
        values_N=values_N,
        predicted_N=np.clip(predicted_N, low, high),
        variances_N=_variances(policy, mean_NT, scored.tasks),
        low=low,
        high=high,
        candidate_N=policy.passes(candidate_NT, uncertainties[0][known_N]),
        serving_N=policy.passes(serving_NT, uncertainties[1][known_N]),
        weights_N=None if scored.weights_N is None else scored.weights_N[known_N],
    )


def _variances(policy: Policy, scores_NT: Floats32, tasks: TaskSet) -> Floats:
    """Variance of the value over labels drawn from the scores, given the population's label."""
    rng = np.random.default_rng(0)
    total_N, squares_N = np.zeros(len(scores_NT)), np.zeros(len(scores_NT))
    for _ in range(DRAWS):
        drawn_NT = (rng.random(scores_NT.shape) < scores_NT).astype(np.float32)
        values_N = policy.value(tasks.on_all_requests(drawn_NT))
        total_N += values_N
        squares_N += values_N**2
    variance_N: Floats = (squares_N - total_N**2 / DRAWS) / (DRAWS - 1)
    return np.maximum(variance_N, 0.0)


def _value_range(policy: Policy, tasks: int, seen_N: Floats) -> tuple[float, float]:
    """Least and largest value over all combinations of labels (of those seen, for many tasks)."""
    if tasks > MOST_COMBINED:
        return float(seen_N.min(initial=0.0)), float(seen_N.max(initial=0.0))
    values_C = policy.value(np.array(list(product((0.0, 1.0), repeat=tasks))))
    return float(values_C.min()), float(values_C.max())
