r"""Which features moved a score: by occlusion, and along paths from the empty request.

Ids are categories, and between "missing" and an id there is no half-way point at which a gradient
would mean anything. The path integral of Sundararajan, Taly and Yan (2017, Axiomatic attribution
for deep networks) therefore becomes a sum over discrete paths: from the request of which every
feature is missing, features are put in place one by one in a random order, and each is credited
with the change of the output that its own step makes,

    phi_j = E_order[ v(before j, and j) - v(before j) ],

which is the Shapley value of the game v (Strumbelj and Kononenko 2014). Along every single order
the steps add up to v(request) - v(empty request), so their means do: *additivity* holds whatever
the number of orders, which only decides the standard error of each phi_j. Orders come in pairs of
one and its reverse, which cancels part of the error (Mitchell et al. 2022, Sampling permutations
for Shapley value estimation).

*Occlusion* is the change when one feature alone is set to missing: what would happen without this
field, and no sum of anything. Where features stand in for each other, or only count together, the
two disagree, and the rank correlation between them says so.

A cross feature is a function of its parts, so it is no player of its own: it is missing until all
of its parts are there, and its effect is credited to them.

A players (features that read something), M outputs (scores, uncertainties, reward), K orders.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.features.feature import Feature, Ids
from stream.explain.values import missing_ids

Floats = npt.NDArray[np.float64]
Outputs = Callable[[Ids], Floats]
"""From ids (N, C) to outputs (N, M)."""

AGREEMENT: Final = 0.8
"""Rank correlation from which on the two methods are said to agree."""
DEFAULT_PAIRS: Final = 32


@dataclass(frozen=True, slots=True)
class Attribution:
    """What each player contributes to each output.

    Attributes:
        names: The A players.
        value_M: Outputs of the request.
        baseline_M: Outputs of the empty request.
        occlusion_AM: Output of the request less its output without the player.
        path_AM: Mean step of the player over the orders.
        error_AM: Standard error of that mean.
        orders: K, the number of orders.
    """

    names: tuple[str, ...]
    value_M: Floats
    baseline_M: Floats
    occlusion_AM: Floats
    path_AM: Floats
    error_AM: Floats
    orders: int

    def residual(self, output: int) -> float:
        """Sum of the path's contributions less (value - baseline): rounding alone."""
        change = self.value_M[output] - self.baseline_M[output]
        return float(self.path_AM[:, output].sum() - change)

    def agreement(self, output: int) -> float | None:
        """Rank correlation of both methods; None where a method does not tell players apart."""
        return rank_correlation(self.occlusion_AM[:, output], self.path_AM[:, output])

    def order(self, output: int) -> list[int]:
        """The players, those that moved the output most first."""
        moved_A = np.nan_to_num(np.abs(self.path_AM[:, output]))
        return [int(player) for player in np.argsort(-moved_A, kind="stable")]


def attribute(
    outputs: Outputs,
    features: Sequence[Feature],
    ids_C: Ids,
    players: Sequence[tuple[str, Sequence[int]]],
    rng: np.random.Generator,
    pairs: int = DEFAULT_PAIRS,
) -> Attribution:
    """Attribute the outputs of one request to its features.

    Args:
        outputs: The model: ids to outputs.
        features: The features of the spec, in order.
        ids_C: The ids of the request, its crosses included.
        players: Name and columns of each feature that reads something.
        rng: Draws the orders.
        pairs: Pairs of orders; each costs 2 (A - 1) rows of ids to score.
    """
    empty_C = missing_ids(features)
    count = len(players)
    present_KA = np.concatenate([np.ones((1, count), np.bool_), ~np.eye(count, dtype=np.bool_)])
    present_KA = np.concatenate([present_KA, np.zeros((1, count), np.bool_)])
    game = _Game(outputs, features, ids_C, empty_C, players)
    found_KM = game(present_KA)
    value_M, baseline_M = found_KM[0], found_KM[-1]
    steps_KAM = np.zeros((pairs, count, found_KM.shape[1]))
    for pair in range(pairs):
        order_A = rng.permutation(count)
        for turn in (order_A, order_A[::-1]):
            steps_KAM[pair] += 0.5 * _steps(game, turn, value_M, baseline_M)
    spread_AM = steps_KAM.std(axis=0, ddof=1) if pairs > 1 else np.full(steps_KAM.shape[1:], np.nan)
    return Attribution(
        tuple(name for name, _ in players),
        value_M,
        baseline_M,
        value_M - found_KM[1:-1],
        steps_KAM.mean(axis=0),
        spread_AM / np.sqrt(pairs),
        2 * pairs,
    )


class _Game:
    """Outputs of the request with only some of its features; all others are missing."""

    def __init__(
        self,
        outputs: Outputs,
        features: Sequence[Feature],
        ids_C: Ids,
        empty_C: Ids,
        players: Sequence[tuple[str, Sequence[int]]],
    ) -> None:
        self._outputs = outputs
        self._ids_C, self._empty_C = ids_C, empty_C
        self._columns = [list(columns) for _, columns in players]
        by_column = {column: a for a, columns in enumerate(self._columns) for column in columns}
        self._crosses = [
            (each.column, [by_column.get(p) for p in leaves(each)])
            for each in features
            if each.derived and ids_C[each.column] != each.offset
        ]

    def __call__(self, present_KA: npt.NDArray[np.bool_]) -> Floats:
        """Outputs (K, M) of K coalitions."""
        ids_KC = np.tile(self._empty_C, (len(present_KA), 1))
        for player, columns in enumerate(self._columns):
            for column in columns:
                ids_KC[present_KA[:, player], column] = self._ids_C[column]
        for column, parts in self._crosses:
            there = [part for part in parts if part is not None]
            if len(there) == len(parts):
                ids_KC[present_KA[:, there].all(axis=1), column] = self._ids_C[column]
        return self._outputs(ids_KC)


def leaves(feature: Feature) -> list[int]:
    """First columns of the features that a cross is made of, down to those of the request."""
    parts: tuple[Feature, ...] = getattr(feature, "parts", ())
    if not parts:
        return [feature.column]
    return [column for part in parts for column in leaves(part)]


def _steps(
    game: _Game, order_A: npt.NDArray[np.int64], value_M: Floats, baseline_M: Floats
) -> Floats:
    """The change that each player's step makes along one order, shape (A, M)."""
    count = len(order_A)
    rank_A = np.empty(count, np.int64)
    rank_A[order_A] = np.arange(count)
    steps_AM = np.zeros((count, len(value_M)))
    if not count:
        return steps_AM
    inner_KM = np.empty((0, len(value_M)))
    if count > 1:
        inner_KM = game(np.arange(count - 1)[:, None] >= rank_A[None, :])
    along_KM = np.concatenate([baseline_M[None], inner_KM, value_M[None]])
    steps_AM[order_A] = np.diff(along_KM, axis=0)
    return steps_AM


def rank_correlation(one_A: Floats, other_A: Floats) -> float | None:
    """Spearman's rank correlation, ties by their mean rank; None where one of them is constant."""
    if len(one_A) < 2 or not (np.isfinite(one_A).all() and np.isfinite(other_A).all()):
        return None
    one_A, other_A = _ranks(one_A), _ranks(other_A)
    one_A, other_A = one_A - one_A.mean(), other_A - other_A.mean()
    scale = float(np.sqrt((one_A**2).sum() * (other_A**2).sum()))
    return float((one_A * other_A).sum() / scale) if scale > 0 else None


def _ranks(values_A: Floats) -> Floats:
    _, inverse_A, counts = np.unique(values_A, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse_A]
