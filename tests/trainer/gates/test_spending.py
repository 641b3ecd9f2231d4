"""The levels of all candidates add up to less than alpha."""

import math

import pytest

from trainer.gates.spending import spent_by


def test_all_levels_together_stay_within_alpha() -> None:
    """The sum of the first 200,000, and the integral bound 1 / log K of all others."""
    first = sum(spent_by(k, 1.0) for k in range(1, 200_001))
    rest = spent_by(1, 1.0) * math.log(2) ** 2 / math.log(200_000)
    assert 0.99 < first + rest <= 1.0


def test_later_candidates_get_less_but_something() -> None:
    """The levels fall, more slowly than 1 / k^2."""
    levels = [spent_by(k, 0.05) for k in (1, 2, 10, 100, 500)]
    assert levels == sorted(levels, reverse=True)
    assert levels[-1] > 0.05 * 6 / math.pi**2 / 500**2


def test_candidates_are_counted_from_one() -> None:
    """There is no zeroth trial."""
    with pytest.raises(ValueError, match="counted from 1"):
        spent_by(0, 0.05)
