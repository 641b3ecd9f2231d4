"""Logistic regression on the ids, whose penalties are learned from the rows (empirical Bayes).

With a hundred thousand rows much of a net's error is variance: it embeds thousands of ids, most of
which say little. Here the coefficients of a feature have a normal prior of mean 0, whose precision
is estimated together with them (MacKay, Neural Computation 1992, eq. 2.23 and 4.17; the Hessian is
taken to be diagonal):

    lambda_g = gamma_g / sum_g w^2,    gamma_g = sum_g H / (H + lambda_g),

so that features which say nothing vanish, and frequent ids count more than rare ones.

N requests, Q coefficients, J groups of coefficients.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import optimize, sparse

Doubles = npt.NDArray[np.float64]
Groups = npt.NDArray[np.int64]

START_PENALTY: Final = 20.0
PENALTIES: Final = (1.0, 1e5)
"""Least and greatest penalty of a group."""
ROUNDS, ITERATIONS = 5, 20
"""Updates of the penalties, and iterations of L-BFGS between two of them."""
FINAL_ITERATIONS: Final = 40
"""Iterations of L-BFGS where the penalties are known."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A fitted model.

    Attributes:
        weights_Q: The coefficients.
        bias: The constant.
        penalties_J: Precision of each group's prior.
    """

    weights_Q: Doubles
    bias: float
    penalties_J: Doubles

    def logits(self, matrix: sparse.csr_array) -> Doubles:
        """Log odds of the rows of a design matrix, (N,)."""
        logits_N: Doubles = (matrix @ self.weights_Q.astype(np.float32)).astype(
            np.float64
        ) + self.bias
        return logits_N


def fit_linear(
    matrix: sparse.csr_array,
    labels_N: Doubles,
    counts_N: Doubles,
    groups_Q: Groups,
    penalties_J: Doubles | None = None,
) -> Linear:
    """Fit coefficients, and penalties where they are not given.

    Args:
        matrix: Design matrix (N, Q).
        labels_N: 0 or 1; both occur.
        counts_N: Weight of each row.
        groups_Q: Group of each coefficient.
        penalties_J: Penalties that were found on more rows.
    """
    problem = _Problem(matrix, labels_N, counts_N)
    rate = float(np.average(labels_N, weights=counts_N))
    weights_Q, bias = np.zeros(matrix.shape[1]), float(np.log(rate / (1 - rate)))
    if penalties_J is not None:
        penalties_Q = penalties_J[groups_Q]
        weights_Q, bias = problem.solved(weights_Q, bias, penalties_Q, FINAL_ITERATIONS)
        return Linear(weights_Q, bias, penalties_J)
    found_J = np.full(int(groups_Q.max()) + 1, START_PENALTY)
    for _ in range(ROUNDS):
        weights_Q, bias = problem.solved(weights_Q, bias, found_J[groups_Q], ITERATIONS)
        found_J = _updated(found_J, weights_Q, problem.curvature(weights_Q, bias), groups_Q)
    weights_Q, bias = problem.solved(weights_Q, bias, found_J[groups_Q], ITERATIONS)
    return Linear(weights_Q, bias, found_J)


class _Problem:
    """Penalised log-loss of the rows."""

    def __init__(self, matrix: sparse.csr_array, labels_N: Doubles, counts_N: Doubles) -> None:
        self._matrix, self._labels_N, self._counts_N = matrix, labels_N, counts_N
        self._transposed = matrix.T
        self._squares = sparse.csr_array(
            (matrix.data**2, matrix.indices, matrix.indptr), shape=matrix.shape
        ).T

    def curvature(self, weights_Q: Doubles, bias: float) -> Doubles:
        """Diagonal of the log-loss's Hessian, (Q,)."""
        p_N = _sigmoid(self._matrix @ weights_Q.astype(np.float32) + bias)
        curvature_Q: Doubles = self._squares @ (self._counts_N * p_N * (1 - p_N)).astype(np.float32)
        return curvature_Q

    def solved(
        self, weights_Q: Doubles, bias: float, penalties_Q: Doubles, iterations: int
    ) -> tuple[Doubles, float]:
        """Coefficients and bias after some iterations, in units of their posterior deviations."""
        units_Q = 1 / np.sqrt(self.curvature(weights_Q, bias) + penalties_Q)
        unit = 2 / np.sqrt(self._counts_N.sum())

        def loss(point: Doubles) -> tuple[float, Doubles]:
            found_Q = point[:-1] * units_Q
            logits_N = self._matrix @ found_Q.astype(np.float32) + point[-1] * unit
            losses_N = np.logaddexp(0, logits_N) - self._labels_N * logits_N
            value = self._counts_N @ losses_N + (penalties_Q * found_Q**2).sum() / 2
            residuals_N = self._counts_N * (_sigmoid(logits_N) - self._labels_N)
            slope_Q = self._transposed @ residuals_N.astype(np.float32) + penalties_Q * found_Q
            return float(value), np.append(units_Q * slope_Q, residuals_N.sum() * unit)

        start = np.append(weights_Q / units_Q, bias / unit)
        options = {"maxiter": iterations}
        found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options=options)
        return found.x[:-1] * units_Q, float(found.x[-1] * unit)


def _updated(
    penalties_J: Doubles, weights_Q: Doubles, curvature_Q: Doubles, groups_Q: Groups
) -> Doubles:
    """MacKay's update of the penalties."""
    groups = len(penalties_J)
    determined_Q = curvature_Q / (curvature_Q + penalties_J[groups_Q])
    determined_J = np.bincount(groups_Q, determined_Q, groups)
    squares_J = np.bincount(groups_Q, weights_Q**2, groups)
    updated_J = np.where(squares_J > 0, determined_J / np.maximum(squares_J, 1e-9), np.inf)
    return np.clip(updated_J, *PENALTIES)


def _sigmoid(logits_N: Doubles) -> Doubles:
    return 1 / (1 + np.exp(-np.clip(logits_N, -40, 40)))
