"""AUC-PR and calibration error with their bootstrap errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from tests.trainer.gates.markets import ONE, market
from trainer.gates.curves import average_precision, calibration_error
from trainer.gates.log_loss import TaskRows


@given(st.integers(0, 30), st.booleans())
def test_average_precision_is_that_of_scikit_learn(seed: int, ties: bool) -> None:
    """With ties and weights, too."""
    rng = np.random.default_rng(seed)
    scores_K = rng.random(200)
    scores_K = np.round(scores_K, 1) if ties else scores_K
    labels_K = (rng.random(200) < 0.3).astype(float)
    weights_K = rng.random(200) + 0.5
    figure = average_precision(TaskRows(scores_K, 1 - scores_K, labels_K, weights_K), 0)
    expected = average_precision_score(labels_K, scores_K, sample_weight=weights_K)
    assert figure.candidate == pytest.approx(expected)
    assert figure.difference == pytest.approx(figure.candidate - figure.serving)


def test_the_calibration_error_is_in_units_of_the_label_rate() -> None:
    """Scores that are half of what they should be are off by half of the rate."""
    rng = np.random.default_rng(0)
    p_K = rng.uniform(0.02, 0.2, 50_000)
    labels_K = (rng.random(50_000) < p_K).astype(float)
    figure = calibration_error(TaskRows(p_K / 2, p_K, labels_K), 0)
    assert figure.candidate == pytest.approx(0.5, abs=0.03)
    assert figure.serving < 0.1


@pytest.mark.parametrize("statistic", [average_precision, calibration_error])
def test_the_errors_are_those_of_repeated_experiments(statistic) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """The bootstrap's error is near the spread over fresh rows, and 5 % bounds miss about 5 %."""
    figures = []
    for seed in range(80):
        scored, _ = market(seed, 2_000, candidate_error=0.6, tasks=ONE)
        figures.append(statistic(scored.task(0), seed))
    differences = np.array([figure.difference for figure in figures])
    errors = np.array([figure.error for figure in figures])
    assert 0.7 < errors.mean() / differences.std() < 1.5
    middle = differences.mean()
    missed = np.mean([not f.interval(0.025).low < middle < f.interval(0.025).high for f in figures])
    assert missed < 0.13


def test_the_same_rows_have_the_same_verdict() -> None:
    """The bootstrap is seeded."""
    rows = market(1, 500, tasks=ONE)[0].task(0)
    assert average_precision(rows, 3) == average_precision(rows, 3)
