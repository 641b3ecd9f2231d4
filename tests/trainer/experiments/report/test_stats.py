import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from trainer.experiments.report.stats import curve, estimate, paired

NUMBERS = st.lists(st.integers(-100, 100), min_size=2, max_size=8, unique=True)


@settings(max_examples=100, deadline=None)
@given(NUMBERS)
def test_intervals_and_tests_are_students(values: list[int]) -> None:
    """Mean, interval and p-value are those of scipy's one-sample t test."""
    found = estimate(dict(enumerate(values)))
    test = stats.ttest_1samp(values, 0.0)
    interval = test.confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(values), abs=1e-9)
    assert found.low == pytest.approx(interval.low, rel=1e-6, abs=1e-6)
    assert found.high == pytest.approx(interval.high, rel=1e-6, abs=1e-6)
    assert found.p_value == pytest.approx(test.pvalue, rel=1e-6, abs=1e-9)


def test_pairs_are_taken_within_the_seed() -> None:
    """Only seeds that have both count, and what seeds share cancels out."""
    found = paired({1: 10.5, 2: 20.5, 3: 0.0}, {1: 10.0, 2: 20.0, 4: 7.0})
    assert found.values == {1: 0.5, 2: 0.5}
    assert (found.low, found.high) == (0.5, 0.5)


def test_one_seed_has_no_interval() -> None:
    """A single value is a mean and nothing more; values that are no numbers do not count."""
    found = estimate({1: 2.0, 2: math.nan})
    assert (found.mean, found.low, found.high, found.p_value) == (2.0, None, None, None)
    with pytest.raises(ValueError, match="no seed"):
        estimate({1: math.nan})


def test_curves_leave_out_points_that_nobody_has() -> None:
    """Each point is an estimate of its own."""
    found = curve([0.0, 1.0, 2.0], {1: [1.0, math.nan, 3.0], 2: [3.0, math.nan, 3.0]})
    assert found.x == [0.0, 2.0]
    assert found.mean == [2.0, 3.0]
    assert found.high[1] == 3.0
