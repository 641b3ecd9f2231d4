"""True probabilities of simulated requests: the funnel click -> online -> cart -> deal.

Each step has a logit that is a sum of effects of observable features (main effects of codes and
numbers, pairwise interactions, a non-monotonic term), so the true probability is what the best
possible model would predict. In ambiguous regions the logit is shrunk to the base rate; data-poor
segments have effects of their own. Scales and biases are solved for per seed, so that rates and
learnability are those of the DAUM paper's Table I.
"""

from dataclasses import dataclass

import numpy as np

from trainer.simulation.world import NUMBERS, SIZES, USER_NUMBERS, Float64Array, Scene

STEPS = 4
RATES_T = (0.61, 0.57, 0.064, 0.023)
"""Share of positives per task, each on its own population (Table I, section III-A)."""
ORACLE_AUC_T = (0.828, 0.744, 0.812, 0.819)
"""AUC-ROC of the true probabilities, an upper limit for any model."""


@dataclass(frozen=True, slots=True)
class FunnelShape:
    """Label rates of the tasks of a funnel, and their correlation.

    Attributes:
        rates_T: Share of positives per task, each on its own population.
        shared: Weight (a cosine) of the first step's logit in the logits of all later steps: with 0
            they are independent of it, with 1 all steps rank requests alike.
    """

    rates_T: tuple[float, float, float, float] = RATES_T
    shared: float = 0.0


MAIN: dict[str, float] = {
    "item": 0.1,
    "publisher": 0.2,
    "category": 0.45,
    "exchange": 0.35,
    "app": 0.2,
    "hops": 0.15,
    "format": 0.25,
    "size": 0.25,
    "pos": 0.35,
    "plcmt": 0.25,
    "instl": 0.3,
    "deal": 0.25,
    "make": 0.2,
    "tier": 0.2,
    "devicetype": 0.25,
    "os": 0.2,
    "city": 0.08,
    "region": 0.15,
    "country": 0.15,
    "carrier": 0.1,
    "connection": 0.2,
    "hour": 0.25,
    "weekday": 0.1,
    "known": 0.3,
    "gender": 0.15,
    "age": 0.25,
    "level": 0.35,
    "interest": 0.3,
}
"""Standard deviation of each code's main effects."""
CROSSES: dict[tuple[str, str], float] = {
    ("interest", "category"): 0.18,
    ("hour", "devicetype"): 0.12,
    ("tier", "level"): 0.2,
    ("size", "pos"): 0.12,
    ("exchange", "format"): 0.1,
    ("age", "gender"): 0.1,
    ("format", "devicetype"): 0.15,
}
"""Standard deviation of the effects of pairs of codes."""
POOR_CROSS = 0.7
"""Standard deviation of the effects of a data-poor cell (operating system, category)."""
SIGNS: dict[str, tuple[float, float, float, float]] = {
    "clicks_7d": (0.6, 0.2, 0.2, 0.1),
    "clicks_30d": (0.4, 0.2, 0.1, 0.1),
    "ctr_user": (0.5, 0.1, 0.1, 0.0),
    "sec_since_click": (-0.4, -0.2, -0.1, 0.0),
    "visits_30d": (0.2, 0.6, 0.2, 0.1),
    "sec_since_visit": (-0.1, -0.4, -0.3, -0.1),
    "carts_7d": (0.1, 0.2, 0.8, 0.3),
    "carts_30d": (0.1, 0.1, 0.5, 0.3),
    "sec_since_cart": (0.0, -0.1, -0.4, -0.3),
    "orders_90d": (0.1, 0.2, 0.3, 0.8),
    "spend_90d": (0.0, 0.1, 0.2, 0.5),
    "ctr_tag": (0.7, 0.1, -0.1, 0.0),
    "session_depth": (-0.4, -0.2, -0.1, -0.1),
    "session_s": (0.2, 0.4, 0.2, 0.1),
}
"""Fixed weights of numbers, one per step; a random weight is added to each."""
NUMBERS_SD = 1.1
"""Standard deviation of the effects of all numbers together."""
_RATES = ("ctr_user", "cvr_user", "cart_rate_user", "ctr_site", "ctr_tag")
_OFFSETS_K = np.array([0.002 if name in _RATES else 1.0 for name in NUMBERS])


class Effects:
    """Effects that map a scene to the logits of the four steps, standardised on a sample.

    Args:
        rng: Generator of the effects.
        sample: Scene on which numbers and logits have mean 0 and standard deviation 1.
    """

    def __init__(self, rng: np.random.Generator, sample: Scene) -> None:
        self._main = {key: rng.normal(0.0, sd, (SIZES[key], STEPS)) for key, sd in MAIN.items()}
        self._crosses = {
            (a, b): rng.normal(0.0, sd, (SIZES[a] * SIZES[b], STEPS))
            for (a, b), sd in CROSSES.items()
        }
        self._poor = rng.normal(0.0, POOR_CROSS, (SIZES["os"] * SIZES["category"], STEPS))
        self._weights_KT = np.array([SIGNS.get(name, (0.0,) * STEPS) for name in NUMBERS])
        self._weights_KT += rng.normal(0.0, 0.12, self._weights_KT.shape)
        self._bumps_T = rng.normal(0.0, 0.2, STEPS)
        self._products_T = rng.normal(0.0, 0.12, STEPS)
        plain_NK = _plain(sample)
        self._centre_K, self._spread_K = plain_NK.mean(axis=0), plain_NK.std(axis=0)
        self._weights_KT *= NUMBERS_SD / (self._scaled(sample) @ self._weights_KT).std(axis=0)
        raw_NT = self._raw(sample)
        self._mean_T, self._std_T = raw_NT.mean(axis=0), raw_NT.std(axis=0)

    def logits(self, scene: Scene) -> Float64Array:
        """Logits of the four steps, float64 (N, 4)."""
        return np.asarray((self._raw(scene) - self._mean_T) / self._std_T)

    def _scaled(self, scene: Scene) -> Float64Array:
        """Standardised numbers, float64 (N, K); numbers of unknown users are 0."""
        scaled_NK = np.clip((_plain(scene) - self._centre_K) / self._spread_K, -3.0, 3.0)
        scaled_NK[:, : len(USER_NUMBERS)] *= scene.codes["known"][:, None]
        return np.asarray(scaled_NK)

    def _raw(self, scene: Scene) -> Float64Array:
        codes = scene.codes
        total_NT = np.zeros((len(scene), STEPS))
        for key, table in self._main.items():
            total_NT += table[codes[key]]
        for (a, b), table in self._crosses.items():
            total_NT += table[codes[a] * SIZES[b] + codes[b]]
        scaled_NK = self._scaled(scene)
        poor_N1 = scene.data_poor[:, None]
        numeric_NT = scaled_NK @ self._weights_KT
        total_NT += np.where(poor_N1, 0.25 * numeric_NT, numeric_NT)
        own_NT = self._poor[codes["os"] * SIZES["category"] + codes["category"]]
        total_NT += np.where(poor_N1, own_NT, 0.0)
        recency_N = scaled_NK[:, NUMBERS.index("sec_since_order")]
        total_NT += np.exp(-2 * (recency_N - 0.3) ** 2)[:, None] * self._bumps_T
        product_N = scaled_NK[:, NUMBERS.index("bidfloor")] * scaled_NK[:, NUMBERS.index("ctr_tag")]
        total_NT += product_N[:, None] * self._products_T
        return total_NT


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
    """The four steps, with the rates of the shape and the AUCs of :data:`ORACLE_AUC_T`.

    Args:
        effects: Initial effects.
        later: Effects that drift rotates the initial ones towards.
        sample: Scene of at least 20,000 requests on which scales and biases are solved for.
        shape: Label rates, and correlation of the steps.
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
                low, high = (scale, high) if auc < ORACLE_AUC_T[step] else (low, scale)
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


def _plain(scene: Scene) -> Float64Array:
    """Numbers on a logarithmic scale, float64 (N, K)."""
    numbers_NK = np.stack([scene.numbers[name] for name in NUMBERS], axis=1)
    return np.asarray(np.log(numbers_NK + _OFFSETS_K))
