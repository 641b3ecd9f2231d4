"""The figures of live quality, as the daemon exports them."""

from dataclasses import dataclass, field
from typing import Final

DELAY_QUANTILES: Final = (0.5, 0.9, 0.99)
MIN_POSITIVES: Final = 50
"""Positives and negatives without which no AUC and no calibration are given."""


@dataclass(frozen=True, slots=True)
class TaskQuality:
    """Quality of one task's scores.

    Attributes:
        rows: Requests of the population with a final label that the figures below are of.
        positives: Positives among them.
        label_rate: Share of positives among them; None without rows.
        expected: Mean score of them; None without rows.
        calibration: ``label_rate / expected``: above 1 the model says too little; None where there
            are fewer than :data:`MIN_POSITIVES` positives or negatives.
        error: Standard error of ``calibration`` if the scores are right, by the variance
            ``sum w^2 p (1 - p)``.
        ece: Expected calibration error; None as ``calibration``.
        auc: Area under the ROC curve; None as ``calibration``.
        learned_from: Whether these requests are among those that the model learned from, because
            newer ones have too few labels yet: it then looks better than it is.
        delays_s: Quantiles of the time from a request to its event, in seconds, by
            :data:`DELAY_QUANTILES`; empty without events.
    """

    rows: int
    positives: int
    label_rate: float | None
    expected: float | None
    calibration: float | None
    error: float | None
    ece: float | None
    auc: float | None
    learned_from: bool
    delays_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ReasonQuality:
    """What passed for one reason.

    Attributes:
        share: Share of all that passed.
        value: Value of its events per request that passed for it: the sum over the tasks of the
            mean final label times the task's value in ``policy.weights``.
    """

    share: float
    value: float


@dataclass(frozen=True, slots=True)
class ScenarioQuality:
    """What passed of one scenario.

    Attributes:
        share: Share of all that passed.
        value: Value of its events per request of it that passed, over all reasons.
        tasks: By task.
    """

    share: float
    value: float
    tasks: dict[str, TaskQuality]


@dataclass(frozen=True, slots=True)
class Quality:
    """All figures of one evaluation.

    Attributes:
        version: Version of the model.
        rows: Number of requests.
        tasks: By task.
        reasons: By reason.
        scenarios: By scenario; empty if none is named in the settings.
        feature_psi: PSI by feature; empty if the model has no reference.
        score_psi: PSI of scores by task.
    """

    version: str
    rows: int
    tasks: dict[str, TaskQuality]
    reasons: dict[str, ReasonQuality]
    scenarios: dict[str, ScenarioQuality] = field(default_factory=dict)
    feature_psi: dict[str, float] = field(default_factory=dict)
    score_psi: dict[str, float] = field(default_factory=dict)
