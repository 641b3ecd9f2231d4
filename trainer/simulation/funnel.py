"""True probabilities of simulated requests: the funnel click -> online -> cart -> deal.

Each step has a logit that depends on observable features only (``effects.py``), so the true
probability is what the best possible model would predict. In ambiguous regions the logit is shrunk
to the base rate. Scales and biases are solved for per seed, so that rates and learnability are
those of the shape: in the standard market those of the DAUM paper's Table I.
"""

from dataclasses import dataclass

import numpy as np

from trainer.simulation.effects import STEPS, Effects
from trainer.simulation.world import Float64Array, Scene

RATES_T = (0.61, 0.57, 0.064, 0.023)
"""Share of positives per task, each on its own population (Table I, section III-A)."""
ORACLE_AUC_T = (0.828, 0.744, 0.812, 0.819)
"""AUC-ROC of the true probabilities of the standard market, an upper limit for any model."""


@dataclass(frozen=True, slots=True)
class FunnelShape:
    """Label rates of the tasks of a funnel, and their correlation.

    Attributes:
        rates_T: Share of positives per task, each on its own population.
        shared: Weight (a cosine) of the first step's logit in the logits of all later steps: with 0
            they are independent of it, with 1 all steps rank requests alike.
        auc_T: AUC-ROC of the true probabilities per task, on its own population.
    """

    rates_T: tuple[float, float, float, float] = RATES_T
    shared: float = 0.0
    auc_T: tuple[float, float, float, float] = ORACLE_AUC_T


@dataclass(frozen=True, slots=True)
class Truth:
    """True probabilities of N requests.

    Attributes:
        step_NT: Probability of each step given the one before it, float64 (N, 4).
        p_true_NT: Probability of each task on its own population, float64 (N, 4): online among
            clicked requests, the others on all requests.
    """

    step_NT: Float64Array
    p_true_NT: Float64Array


class Funnel:
    """The four steps, with the rates and the AUCs of the shape.

    Args:
        effects: Initial effects.
        later: Effects that drift rotates the initial ones towards.
        sample: Scene of at least 20,000 requests on which scales and biases are solved for.
        shape: Label rates, correlation of the steps, and AUCs.
    """

    def __init__(self, effects: Effects, later: Effects, sample: Scene, shape: FunnelShape) -> None:
        self._effects, self._later, self._shape = effects, later, shape
        self._bias_T, self._scale_T = np.zeros(STEPS), np.ones(STEPS)
        self._solve(_shrunk(self._logits(effects, sample), sample))

    def truth(
        self, scene: Scene, turn_N: Float64Array, shift_NT: Float64Array | None = None
    ) -> Truth:
        """True probabilities of a scene.

        Args:
            scene: N requests.
            turn_N: Radians by which effects have rotated, (N,).
            shift_NT: Shift of the logits, in standard deviations of those of known requests; None
                for none.
        """
        z_NT = self._logits(self._effects, scene)
        if turn_N.any():
            turn_N1 = turn_N[:, None]
            later_NT = self._logits(self._later, scene)
            z_NT = np.cos(turn_N1) * z_NT + np.sin(turn_N1) * later_NT
        z_NT = _shrunk(z_NT, scene)
        if shift_NT is not None:
            z_NT = z_NT + shift_NT
        step_NT = _sigmoid(self._bias_T + self._scale_T * z_NT)
        return Truth(step_NT, _on_populations(step_NT))

    def centre(self, scene: Scene, shift_NT: Float64Array) -> Float64Array:
        """What to add to a shift of every logit, (4,), so that the rates stay those of the shape.

        Args:
            scene: Scene of N requests.
            shift_NT: Their shifts, (N, 4).
        """
        z_NT = _shrunk(self._logits(self._effects, scene), scene) + shift_NT
        found_T, reached_N = np.zeros(STEPS), np.ones(len(scene))
        for step in range(STEPS):
            scaled_N = self._scale_T[step] * z_NT[:, step]
            bias = _bias(scaled_N, reached_N, step, self._shape.rates_T[step])
            found_T[step] = (bias - self._bias_T[step]) / self._scale_T[step]
            reached_N = reached_N * _sigmoid(bias + scaled_N)
        return found_T

    def _logits(self, effects: Effects, scene: Scene) -> Float64Array:
        z_NT, shared = effects.logits(scene), self._shape.shared
        if shared:
            z_NT[:, 1:] = shared * z_NT[:, :1] + np.sqrt(1 - shared**2) * z_NT[:, 1:]
        return z_NT

    def _solve(self, z_NT: Float64Array) -> None:
        reached_N = np.ones(len(z_NT))
        for step in range(STEPS):
            low, high = 0.0, 6.0
            for _ in range(24):
                scale = (low + high) / 2
                rate = self._shape.rates_T[step]
                bias = _bias(scale * z_NT[:, step], reached_N, step, rate)
                p_N = _sigmoid(bias + scale * z_NT[:, step])
                auc = _auc(p_N, reached_N, step)
                low, high = (scale, high) if auc < self._shape.auc_T[step] else (low, scale)
            self._scale_T[step], self._bias_T[step] = scale, bias
            reached_N = reached_N * p_N


def expected_auc(p_N: Float64Array, weight_N: Float64Array | None = None) -> float:
    """Expected AUC-ROC of the true probabilities over random labels.

    Args:
        p_N: True probabilities, (N,).
        weight_N: Probability of belonging to the population, (N,); None for all requests.
    """
    weight_N = np.ones(len(p_N)) if weight_N is None else weight_N
    order_N = np.argsort(p_N)
    positive_N = (weight_N * p_N)[order_N]
    negative_N = (weight_N * (1 - p_N))[order_N]
    below_N = np.cumsum(negative_N) - negative_N / 2
    return float((positive_N * below_N).sum() / (positive_N.sum() * negative_N.sum()))


def _auc(p_N: Float64Array, reached_N: Float64Array, step: int) -> float:
    """AUC on the task's population: clicked requests for the step ``online``, otherwise all."""
    return expected_auc(p_N, reached_N) if step == 1 else expected_auc(p_N * reached_N)


def _bias(logit_N: Float64Array, weight_N: Float64Array, step: int, rate: float) -> float:
    target = rate * (weight_N.sum() if step == 1 else len(weight_N))
    low, high = -15.0, 15.0
    for _ in range(30):
        middle = (low + high) / 2
        found = float((weight_N * _sigmoid(middle + logit_N)).sum())
        low, high = (middle, high) if found < target else (low, middle)
    return middle


def _shrunk(z_NT: Float64Array, scene: Scene) -> Float64Array:
    return np.where(scene.ambiguous[:, None], 0.2 * z_NT, z_NT)


def _on_populations(step_NT: Float64Array) -> Float64Array:
    over_all_NT = np.cumprod(step_NT, axis=1)
    over_all_NT[:, 1] = step_NT[:, 1]
    return np.asarray(over_all_NT, np.float64)


def _sigmoid(logits: Float64Array) -> Float64Array:
    return np.asarray(1.0 / (1.0 + np.exp(-logits)))
