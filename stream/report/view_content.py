"""The paper's views in a report, as plain data; part of :mod:`stream.report.content`."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResidualPoint:
    """Table II of the paper: ranking of what remains when the most uncertain pass directly.

    Attributes:
        task: Task whose scores are judged.
        source: Task whose uncertainty passes directly.
        ratio: Share that passes directly.
        auc_roc: AUC-ROC of the rest; None without both classes.
        low: Its lower limit.
        high: Its upper limit.
        auc_pr: AUC-PR of the rest.
        rows: Labelled requests in it.
        ess: Effective number of these.
    """

    task: str
    source: str
    ratio: float
    auc_roc: float | None
    low: float | None
    high: float | None
    auc_pr: float | None
    rows: int
    ess: float | None


@dataclass(frozen=True, slots=True)
class StrategyPoint:
    """Figure 2 of the paper: events kept by passing strategy, per 1,000 requests.

    Attributes:
        budget: ``fixed``, where direct passes replace others, or ``growing``, where they are added.
        source: Task whose uncertainty passes directly.
        ratio: Share of all requests that passes directly.
        direct: Events that pass directly.
        remaining: Events that pass by reward.
        total: Both.
        low: Lower limit of the total, of its gain over the strategy without direct passes.
        high: Upper limit.
        rows: Labelled requests behind it.
    """

    budget: str
    source: str
    ratio: float
    direct: float | None
    remaining: float | None
    total: float | None
    low: float | None
    high: float | None
    rows: int


@dataclass(frozen=True, slots=True)
class RejectionPoint:
    """Error (Brier score) of what remains when a share of the requests is left out.

    Attributes:
        task: The task.
        order: What is left out first: the highest ``uncertainty``, ``p(1-p)``, or by ``chance``.
        rejected: Share that is left out.
        error: Error of the rest.
        low: Its lower limit.
        high: Its upper limit.
        rows: Labelled requests in the rest.
        aurc: Area under the whole curve of the order; smaller is better.
    """

    task: str
    order: str
    rejected: float
    error: float | None
    low: float | None
    high: float | None
    rows: int
    aurc: float | None


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Mean score and rate of events in a bin of scores.

    Attributes:
        task: The task.
        scenario: The scenario; ``*`` for all requests.
        bin: Number of the bin, from the lowest scores.
        score: Mean score.
        rate: Share whose event happened.
        low: Its lower limit.
        high: Its upper limit.
        rows: Labelled requests.
        ess: Effective number of these.
        ece: The scenario's mean distance of score and rate.
    """

    task: str
    scenario: str
    bin: int
    score: float | None
    rate: float | None
    low: float | None
    high: float | None
    rows: int
    ess: float | None
    ece: float | None


@dataclass(frozen=True, slots=True)
class Views:
    """The paper's views on one arm, over the requests that the log could pass, at 95 %.

    Attributes:
        arm: The arm.
        task: Task by whose events passing strategies are judged.
        passes: Share of requests that pass, for the strategies.
        residual: Table II.
        strategies: Figure 2.
        rejection: Rejection curves.
        calibration: Calibration.
    """

    arm: str
    task: str
    passes: float
    residual: Sequence[ResidualPoint]
    strategies: Sequence[StrategyPoint]
    rejection: Sequence[RejectionPoint]
    calibration: Sequence[CalibrationBin]
