"""How a claim is decided: by the intervals of the figures that it rests on, never by hand.

All intervals above their bars: reproduced. One interval below its bar, or one that excludes half of
the effect that the paper reports while it does not exclude none: not reproduced. Else undecided.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from trainer.experiments.report.stats import Estimate

Verdict = Literal["reproduced", "not reproduced", "undecided", "not measured"]


class Check(BaseModel):
    """One figure that a claim rests on.

    Attributes:
        figure: What it is.
        value: Its estimate; None where it was not measured.
        bar: What it must exceed.
        paper: The paper's own figure, where it gives one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    figure: str
    value: Estimate | None
    bar: float = 0.0
    paper: float | None = None

    @property
    def verdict(self) -> Verdict:
        """What this check alone says."""
        if self.value is None:
            return "not measured"
        if self.value.low is None or self.value.high is None:
            return "undecided"
        if self.value.low > self.bar:
            return "reproduced"
        small = self.paper is not None and self.value.high < (self.bar + self.paper) / 2
        return "not reproduced" if self.value.high < self.bar or small else "undecided"


class Claim(BaseModel):
    """A claim and what became of it.

    Attributes:
        name: Short name.
        claim: What the paper says, in our words, and where.
        verdict: What the evidence says.
        evidence: The figures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    claim: str
    verdict: Verdict
    evidence: list[Check]


def verdict_of(checks: Sequence[Check]) -> Verdict:
    """Of all checks together; those that were not measured decide nothing unless all were not."""
    found = {check.verdict for check in checks}
    order: tuple[Verdict, ...] = ("not reproduced", "undecided", "reproduced")
    return next((verdict for verdict in order if verdict in found), "not measured")


def negated(value: Estimate) -> Estimate:
    """The estimate of the opposite."""
    return Estimate(
        mean=-value.mean,
        low=None if value.high is None else -value.high,
        high=None if value.low is None else -value.low,
        p_value=value.p_value,
        values={seed: -each for seed, each in value.values.items()},
    )


def shifted(value: Estimate, by: float) -> Estimate:
    """The estimate of a figure plus a constant."""
    return Estimate(
        mean=value.mean + by,
        low=None if value.low is None else value.low + by,
        high=None if value.high is None else value.high + by,
        p_value=None,
        values={seed: each + by for seed, each in value.values.items()},
    )
