"""Decides claims by the confidence intervals of the figures that they rest on.

A claim is reproduced if all intervals are above their bars; not reproduced if one is below its bar,
or excludes half of the effect that the paper reports but not 0; otherwise undecided.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from trainer.experiments.report.stats import Estimate

Verdict = Literal["reproduced", "not reproduced", "undecided", "not measured"]


class Check(BaseModel):
    """A figure that a claim rests on.

    Attributes:
        figure: Description of the figure.
        value: Estimate of the figure; None if it was not measured.
        bar: Value that it must exceed.
        paper: The figure in the paper, if it gives one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    figure: str
    value: Estimate | None
    bar: float = 0.0
    paper: float | None = None

    @property
    def verdict(self) -> Verdict:
        """Verdict of this check alone."""
        if self.value is None:
            return "not measured"
        if self.value.low is None or self.value.high is None:
            return "undecided"
        if self.value.low > self.bar:
            return "reproduced"
        small = self.paper is not None and self.value.high < (self.bar + self.paper) / 2
        return "not reproduced" if self.value.high < self.bar or small else "undecided"


class Claim(BaseModel):
    """A claim of the paper and its verdict.

    Attributes:
        name: Short name.
        claim: The claim in our words, and its place in the paper.
        verdict: Verdict that follows from the evidence.
        evidence: Figures that the verdict rests on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    claim: str
    verdict: Verdict
    evidence: list[Check]


def verdict_of(checks: Sequence[Check]) -> Verdict:
    """Verdict of all checks together; checks that were not measured count only if none was."""
    found = {check.verdict for check in checks}
    order: tuple[Verdict, ...] = ("not reproduced", "undecided", "reproduced")
    return next((verdict for verdict in order if verdict in found), "not measured")


def negated(value: Estimate) -> Estimate:
    """Estimate of the figure times -1."""
    return Estimate(
        mean=-value.mean,
        low=None if value.high is None else -value.high,
        high=None if value.low is None else -value.low,
        p_value=value.p_value,
        values={seed: -each for seed, each in value.values.items()},
    )


def shifted(value: Estimate, by: float) -> Estimate:
    """Estimate of the figure plus a constant."""
    return Estimate(
        mean=value.mean + by,
        low=None if value.low is None else value.low + by,
        high=None if value.high is None else value.high + by,
        p_value=None,
        values={seed: each + by for seed, each in value.values.items()},
    )
