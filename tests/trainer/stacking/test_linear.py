import numpy as np
import pytest
from scipy import sparse

from trainer.stacking.linear import PENALTIES, fit_linear

ROWS, CODES = 20_000, 400


def market(seed: int) -> tuple[sparse.csr_array, np.ndarray, np.ndarray]:
    """Two codes per row, of which only the first one has effects; labels and true log odds."""
    rng = np.random.default_rng(seed)
    codes_N2 = rng.integers(0, CODES, (ROWS, 2)) + np.array([0, CODES])
    effects_Q = np.append(rng.normal(0, 0.7, CODES), np.zeros(CODES))
    truth_N = effects_Q[codes_N2[:, 0]] - 1
    labels_N = (rng.random(ROWS) < 1 / (1 + np.exp(-truth_N))).astype(np.float64)
    starts = np.arange(ROWS + 1) * 2
    values = np.ones(2 * ROWS, np.float32)
    matrix = sparse.csr_array((values, codes_N2.ravel(), starts), shape=(ROWS, 2 * CODES))
    return matrix, labels_N, truth_N


GROUPS = np.repeat([0, 1], CODES)


def test_penalties_tell_the_feature_that_matters() -> None:
    """A feature without effects is penalised away; that of the other is its effects' precision."""
    matrix, labels_N, truth_N = market(1)
    linear = fit_linear(matrix, labels_N, np.ones(ROWS), GROUPS)
    assert linear.penalties_J[0] == pytest.approx(1 / 0.7**2, rel=0.4)
    assert linear.penalties_J[1] > 40
    error = np.sqrt(np.mean((linear.logits(matrix) - truth_N) ** 2))
    loose = fit_linear(matrix, labels_N, np.ones(ROWS), GROUPS, np.full(2, PENALTIES[0]))
    assert error < 0.35
    assert error < 0.8 * np.sqrt(np.mean((loose.logits(matrix) - truth_N) ** 2))


def test_a_row_that_counts_twice_is_two_rows() -> None:
    """Weights are numbers of rows."""
    matrix, labels_N, _ = market(2)
    penalties_J, few = np.array([2.0, 50.0]), slice(0, 3000)
    matrix, labels_N = matrix[few], labels_N[few]
    twice = sparse.csr_array(sparse.vstack([matrix, matrix]))
    heavy = fit_linear(matrix, labels_N, np.full(3000, 2.0), GROUPS, penalties_J)
    doubled = fit_linear(
        twice, np.concatenate([labels_N, labels_N]), np.ones(6000), GROUPS, penalties_J
    )
    np.testing.assert_allclose(heavy.weights_Q, doubled.weights_Q, atol=0.01)


def test_the_same_rows_give_the_same_model() -> None:
    """Nothing is random."""
    matrix, labels_N, _ = market(3)
    once, again = (fit_linear(matrix, labels_N, np.ones(ROWS), GROUPS) for _ in range(2))
    np.testing.assert_array_equal(once.weights_Q, again.weights_Q)
    assert once.bias == again.bias
