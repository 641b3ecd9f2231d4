import pytest

from trainer.experiments.report.checks import Check, Verdict, verdict_of
from trainer.experiments.report.stats import Estimate


def check(
    low: float | None, high: float | None, bar: float = 0.0, paper: float | None = None
) -> Check:
    mean = 0.0 if low is None or high is None else (low + high) / 2
    value = Estimate(mean=mean, low=low, high=high, p_value=None, values={1: mean})
    return Check(figure="a figure", value=value, bar=bar, paper=paper)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (check(0.1, 0.3), "reproduced"),
        (check(-0.1, 0.3), "undecided"),
        (check(-0.3, -0.1), "not reproduced"),
        (check(-0.001, 0.002, paper=0.02), "not reproduced"),
        (check(-0.001, 0.012, paper=0.02), "undecided"),
        (check(0.001, 0.002, paper=0.02), "reproduced"),
        (check(0.1, 0.3, bar=0.2), "undecided"),
        (check(None, None), "undecided"),
        (Check(figure="never run", value=None), "not measured"),
    ],
)
def test_intervals_decide(found: Check, verdict: Verdict) -> None:
    """An interval around the bar decides nothing, unless it excludes half the paper's effect."""
    assert found.verdict == verdict


def test_a_claim_needs_all_its_checks() -> None:
    """One refuted check refutes, one open check leaves open; what was not measured is nothing."""
    yes, no, perhaps = check(0.1, 0.2), check(-0.2, -0.1), check(-0.1, 0.1)
    missing = Check(figure="never run", value=None)
    assert verdict_of([yes, yes, missing]) == "reproduced"
    assert verdict_of([yes, perhaps]) == "undecided"
    assert verdict_of([yes, perhaps, no]) == "not reproduced"
    assert verdict_of([missing]) == "not measured"
