"""Effects of markets that differ from the standard one in kind.

What helps in one of them may harm in another: a method that claims to work is tried in all
(``markets.py``). All effects depend on what a request shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from trainer.simulation.effects import MAIN, SIGNS, STEPS, Effects
from trainer.simulation.world import NUMBERS, SIZES, Float64Array, Ints, Scene

Float = np.float64
TREES: Final = 40
LEVELS: Final = 3
TRIPLES: Final = 4
"""Combinations of three codes with effects of their own."""
TRIPLE_CELLS: Final = 512
PUBLISHER_GROUPS: Final = 4
PLACE_GROUPS: Final = 3
HARMONICS: Final = 3
AGES: Final = 5
"""Years of release of the device models, by the number of the model."""
CURVED: Final = (
    "bidfloor",
    "ctr_tag",
    "ctr_site",
    "ctr_user",
    "session_s",
    "session_depth",
    "sec_since_click",
    "sec_since_visit",
    "sec_since_order",
    "impressions_7d",
    "spend_90d",
)
"""Numbers with a curve and a threshold in the smooth market."""
TAILS: Final = {"item": 0.45, "city": 0.3, "model": 0.35, "publisher": 0.3, "carrier": 0.2}
"""Standard deviation of the effects of ids in the smooth market, where rare ids are many."""
SPARSE_CODES: Final = 8
SPARSE_NUMBERS: Final = 8
SPARSE_SHARE: Final = 0.2
"""Share of a code's values that have an effect in the sparse market."""


def main_effects(
    rng: np.random.Generator, keys: Sequence[str], scale: float
) -> dict[str, Float64Array]:
    """Effects of codes, each (size, 4), with ``scale`` times the standard market's deviations."""
    return {key: rng.normal(0.0, scale * MAIN[key], (SIZES[key], STEPS)) for key in keys}


def unit(total_NT: Float64Array) -> Float64Array:
    """Standard deviation per step, (4,), by which a part is divided to have unit variance."""
    return np.asarray(np.maximum(total_NT.std(axis=0), 1e-9))


@dataclass(frozen=True, slots=True)
class _Split:
    """A question with a yes or no, about a number (``column``) or about a code (``key``)."""

    column: int
    at: float
    key: str
    inside: Float64Array

    def answers(self, scaled_NK: Float64Array, scene: Scene) -> Ints:
        """1 for yes, int64 (N,)."""
        if self.key:
            return self.inside[scene.codes[self.key]].astype(np.int64)
        return (scaled_NK[:, self.column] > self.at).astype(np.int64)


class ForestEffects(Effects):
    """A forest of random oblivious trees and triples of codes, beside weak main effects.

    Most of the variance is interactions of two and three features, which a linear model misses.

    Args:
        rng: Generator of the effects.
        sample: Scene on which numbers and logits have mean 0 and standard deviation 1.
    """

    def __init__(self, rng: np.random.Generator, sample: Scene) -> None:
        super().__init__(sample)
        self._main = main_effects(rng, list(MAIN), 0.55)
        columns_C = rng.permutation(len(NUMBERS))[:12]
        keys = [str(key) for key in rng.permutation(list(MAIN))[:12]]
        self._trees = [
            [self._split(rng, columns_C, keys) for _ in range(LEVELS)] for _ in range(TREES)
        ]
        self._leaves = rng.normal(0.0, 0.3, (TREES, 2**LEVELS, STEPS))
        self._triples = [[str(key) for key in rng.permutation(keys)[:3]] for _ in range(TRIPLES)]
        self._cells = rng.normal(0.0, 0.25, (TRIPLES, TRIPLE_CELLS, STEPS))
        self._standardise(sample)

    @staticmethod
    def _split(rng: np.random.Generator, columns_C: Ints, keys: Sequence[str]) -> _Split:
        if rng.random() < 0.5:
            return _Split(int(rng.choice(columns_C)), rng.normal(0.0, 0.6), "", np.zeros(0))
        key = str(rng.choice(keys))
        return _Split(-1, 0.0, key, (rng.random(SIZES[key]) < 0.5).astype(Float))

    def _raw(self, scene: Scene) -> Float64Array:
        scaled_NK = self.numbers.scaled(scene)
        total_NT = np.zeros((len(scene), STEPS))
        for key, table in self._main.items():
            total_NT += table[scene.codes[key]]
        for splits, leaves in zip(self._trees, self._leaves, strict=True):
            leaf_N = np.zeros(len(scene), np.int64)
            for split in splits:
                leaf_N = 2 * leaf_N + split.answers(scaled_NK, scene)
            total_NT += leaves[leaf_N]
        for triple, cells in zip(self._triples, self._cells, strict=True):
            a_N, b_N, c_N = (scene.codes[key] for key in triple)
            total_NT += cells[(a_N * 31 + b_N * 131 + c_N * 521) % TRIPLE_CELLS]
        return total_NT


class ClusterEffects(Effects):
    """A mixture of experts: every cluster of publishers and places has coefficients of its own.

    Args:
        rng: Generator of the effects.
        sample: Scene on which numbers and logits have mean 0 and standard deviation 1.
    """

    def __init__(self, rng: np.random.Generator, sample: Scene) -> None:
        super().__init__(sample)
        self._publishers_P = rng.integers(0, PUBLISHER_GROUPS, SIZES["publisher"])
        self._regions_R = rng.integers(0, PLACE_GROUPS, SIZES["region"])
        clusters = PUBLISHER_GROUPS * PLACE_GROUPS
        shape = (clusters, len(NUMBERS), STEPS)
        signs_KT = np.array([SIGNS.get(name, (0.0,) * STEPS) for name in NUMBERS])
        self._weights_GKT = signs_KT + rng.normal(0.0, 0.35, shape)
        self._main = main_effects(rng, list(MAIN), 0.6)
        self._own = {
            key: rng.normal(0.0, MAIN[key], (clusters, SIZES[key], STEPS))
            for key in MAIN
            if SIZES[key] <= SIZES["category"]
        }
        self._shift_GT = rng.normal(0.0, 0.3, (clusters, STEPS))
        self._standardise(sample)

    def clusters(self, scene: Scene) -> Ints:
        """Cluster of each request, int64 (N,)."""
        publisher_N = self._publishers_P[scene.codes["publisher"]]
        return np.asarray(publisher_N * PLACE_GROUPS + self._regions_R[scene.codes["region"]])

    def _raw(self, scene: Scene) -> Float64Array:
        cluster_N, scaled_NK = self.clusters(scene), self.numbers.scaled(scene)
        total_NT = self._shift_GT[cluster_N]
        for key, table in self._main.items():
            total_NT += table[scene.codes[key]]
        for key, own in self._own.items():
            total_NT += own[cluster_N, scene.codes[key]]
        for cluster, weights_KT in enumerate(self._weights_GKT):
            rows_K = np.flatnonzero(cluster_N == cluster)
            total_NT[rows_K] += 0.6 * (scaled_NK[rows_K] @ weights_KT)
        return np.asarray(total_NT)


class SmoothEffects(Effects):
    """Periodic and threshold effects of floor, time, age of the device and behaviour; heavy tails.

    The hour's curve has a phase per category, the floor's threshold one per format, and ids have
    effects of their own while most requests come from rare ids.

    Args:
        rng: Generator of the effects.
        sample: Scene on which numbers and logits have mean 0 and standard deviation 1.
    """

    def __init__(self, rng: np.random.Generator, sample: Scene) -> None:
        super().__init__(sample)
        curved = len(CURVED)
        self._columns_K = np.array([NUMBERS.index(name) for name in CURVED])
        self._speed_KT = rng.uniform(0.8, 2.5, (curved, STEPS))
        self._phase_KT = rng.uniform(0.0, 2 * np.pi, (curved, STEPS))
        self._height_KT = rng.normal(0.0, 0.4, (curved, STEPS))
        self._at_K, self._jump_KT = (
            rng.normal(0.0, 0.6, curved),
            rng.normal(0, 0.4, (curved, STEPS)),
        )
        self._hours = rng.normal(0.0, 0.3, (HARMONICS, STEPS))
        self._shift_G = rng.uniform(0.0, 2 * np.pi, SIZES["category"])
        self._floors = rng.normal(0.0, 0.6, SIZES["format"])
        self._floor_T, self._age_T = rng.normal(0.0, 0.5, STEPS), rng.normal(0.0, 0.5, STEPS)
        self._ids = {key: rng.standard_t(4, (SIZES[key], STEPS)) * sd for key, sd in TAILS.items()}
        rest = [key for key in MAIN if key not in TAILS]
        self._main = main_effects(rng, rest, 0.5)
        self._standardise(sample)

    def _raw(self, scene: Scene) -> Float64Array:
        codes, scaled_NK = scene.codes, self.numbers.scaled(scene)
        total_NT = np.zeros((len(scene), STEPS))
        for key, table in (self._ids | self._main).items():
            total_NT += table[codes[key]]
        for k, column in enumerate(self._columns_K.tolist()):
            x_N1 = scaled_NK[:, column, None]
            total_NT += self._height_KT[k] * np.sin(self._speed_KT[k] * x_N1 + self._phase_KT[k])
            total_NT += self._jump_KT[k] * (x_N1 > self._at_K[k])
        angle_N = 2 * np.pi * codes["hour"] / 24 + self._shift_G[codes["category"]]
        for harmonic, height_T in enumerate(self._hours, 1):
            total_NT += np.sin(harmonic * angle_N)[:, None] * height_T
        floor_N = scaled_NK[:, NUMBERS.index("bidfloor")]
        total_NT += (floor_N > self._floors[codes["format"]])[:, None] * self._floor_T
        age_N = codes["model"] % AGES + codes["osv"]
        total_NT += np.exp(-0.5 * age_N)[:, None] * self._age_T
        return total_NT


class SparseEffects(Effects):
    """A sparse linear market: few features matter, and of these few values, by large effects.

    Args:
        rng: Generator of the effects.
        sample: Scene on which numbers and logits have mean 0 and standard deviation 1.
    """

    def __init__(self, rng: np.random.Generator, sample: Scene) -> None:
        super().__init__(sample)
        keys = ["item", *(str(key) for key in rng.permutation(list(MAIN))[:SPARSE_CODES])]
        self._tables = {
            key: rng.laplace(0.0, 1.0, (SIZES[key], STEPS))
            * (rng.random((SIZES[key], STEPS)) < SPARSE_SHARE)
            for key in keys
        }
        self._weights_KT = np.zeros((len(NUMBERS), STEPS))
        for step in range(STEPS):
            chosen_K = rng.permutation(len(NUMBERS))[:SPARSE_NUMBERS]
            self._weights_KT[chosen_K, step] = rng.laplace(0.0, 1.0, SPARSE_NUMBERS)
        self._codes_T = unit(self._of_codes(sample))
        self._numbers_T = unit(self._of_numbers(sample))
        self._standardise(sample)

    def _of_codes(self, scene: Scene) -> Float64Array:
        total_NT = np.zeros((len(scene), STEPS))
        for key, table in self._tables.items():
            total_NT += table[scene.codes[key]]
        return total_NT

    def _of_numbers(self, scene: Scene) -> Float64Array:
        return np.asarray(self.numbers.scaled(scene) @ self._weights_KT)

    def _raw(self, scene: Scene) -> Float64Array:
        return np.asarray(
            self._of_codes(scene) / self._codes_T + self._of_numbers(scene) / self._numbers_T
        )
