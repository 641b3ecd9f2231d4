"""What a report says, as plain data: ``report.json`` is this, and the page shows nothing else.

The published schema of the JSON is ``report.schema.json`` beside this module.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from stream.report.view_content import Views

Verdict = Literal["ship", "hold", "not enough evidence"]
SHIP: Final[Verdict] = "ship"
HOLD: Final[Verdict] = "hold"
UNKNOWN: Final[Verdict] = "not enough evidence"

VERSION: Final = 1
"""Version of the schema; a field that changes its meaning raises it."""
LOG: Final = "log"
"""Name, in a comparison, of the decisions that were made when the requests were live."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with its confidence limits, at the report's level."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Method:
    """One estimator's figure, in events per 1,000 requests; see `stream.offpolicy.Estimate`."""

    name: str
    change: Interval | None
    ess: float
    supported: bool
    why: str


@dataclass(frozen=True, slots=True)
class EqualRate:
    """Value of two arms if each passed the same share of the requests, those with the highest e.

    Attributes:
        passed: That share, 1 - r.
        base: Share of all events that the base keeps.
        arm: Share of all events that the arm keeps.
        change: Difference of the two, in percentage points.
    """

    passed: float
    base: float
    arm: float
    change: Interval


@dataclass(frozen=True, slots=True)
class TaskChange:
    """How many events of a task an arm keeps, against the base.

    Attributes:
        task: The task.
        base_per_1000: Events per 1,000 requests that the base keeps; None where that is refused.
        change_per_1000: Difference to the base; None where it is refused.
        kept: The difference in percent of what the base keeps, whose estimate is taken as given.
        worst: Lower bound of the difference per 1,000, whatever the log cannot see.
        best: Upper bound.
        ess: Effective number of labelled requests behind the difference.
        rows: Requests whose window was closed.
        supported: Whether the log supports the difference.
        why: Why not, or what it rests on.
        methods: The difference by every estimator that applies; the first is the one above.
        equal_rate: Value at the same passing ratio; None where it is refused.
    """

    task: str
    base_per_1000: float | None
    change_per_1000: Interval | None
    kept: Interval | None
    worst: float
    best: float
    ess: float
    rows: int
    supported: bool
    why: str
    methods: Sequence[Method]
    equal_rate: EqualRate | None


@dataclass(frozen=True, slots=True)
class Group:
    """Requests that share a value.

    Attributes:
        value: The value.
        requests: Their number.
        base_passed: Share of them that the base passes.
        arm_passed: Share of them that the arm passes.
        newly_passed: Requests that only the arm passes.
        newly_blocked: Requests that only the base passes.
        change_per_1000: By task the difference in events per 1,000 of *these* requests; None where
            the log does not support it; empty for small groups, which have counts only.
    """

    value: str
    requests: int
    base_passed: float
    arm_passed: float
    newly_passed: int
    newly_blocked: int
    change_per_1000: Mapping[str, Interval | None]


@dataclass(frozen=True, slots=True)
class Grouping:
    """The largest groups of requests by one property.

    Attributes:
        by: The property: ``scenario``, or the path in the request.
        groups: The groups, largest first.
        others: Number of further groups.
        other_requests: Requests in these.
    """

    by: str
    groups: Sequence[Group]
    others: int
    other_requests: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """An arm against a base.

    Attributes:
        arm: Name of the arm.
        base: Name of the arm that it is compared with, or ``log``.
        verdict: Whether to put it in place of the base.
        why: The reason in two sentences.
        requests: Requests that both decided.
        differ: Requests that they decided differently.
        newly_passed: Those that only the arm passes.
        newly_blocked: Those that only the base passes.
        base_passed: Share of the requests that the base passes.
        arm_passed: Share of the requests that the arm passes.
        tasks: Value by task; empty without outcomes.
        groups: Who gains and who loses, by property.
    """

    arm: str
    base: str
    verdict: Verdict
    why: str
    requests: int
    differ: int
    newly_passed: int
    newly_blocked: int
    base_passed: float
    arm_passed: float
    tasks: Sequence[TaskChange]
    groups: Sequence[Grouping]


@dataclass(frozen=True, slots=True)
class ArmCurve:
    """Share of a task's events kept, by passing ratio, if an arm's highest e pass."""

    arm: str
    kept: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True, slots=True)
class Curve:
    """Passing ratio against value, for one task.

    Attributes:
        task: The task.
        requests: Requests that it is about: window closed, and passed by the log with a
            probability above 0.
        share: These as a share of all requests whose window is closed.
        events: Observed events among them.
        ess: Effective number of events, weighted by inverse propensity.
        why: Why there is no curve; empty if there is one.
        rates: Passing ratios, 1 - r.
        oracle: Share kept by a filter that knows every outcome.
        arms: The arms' curves.
    """

    task: str
    requests: int
    share: float
    events: int
    ess: float
    why: str
    rates: Sequence[float]
    oracle: Sequence[float]
    arms: Sequence[ArmCurve]


@dataclass(frozen=True, slots=True)
class Arm:
    """A policy with a model: its share of passed requests and the versions that decided."""

    name: str
    passed: float
    models: Sequence[str]


@dataclass(frozen=True, slots=True)
class Log:
    """What was decided when the requests were live.

    Attributes:
        passed: Requests that passed.
        blocked: Requests that were blocked.
        unknown: Requests whose verdict was not kept.
        explored: Passed requests that passed with a probability below 1.
        unseen: Blocked requests that had no chance to pass: nobody knows their outcomes.
    """

    passed: int
    blocked: int
    unknown: int
    explored: int
    unseen: int


@dataclass(frozen=True, slots=True)
class Check:
    """A condition of ``--fail-if`` and whether it holds.

    Attributes:
        expression: The condition.
        arm: The arm that it was judged on.
        value: The figure; None where it is not known.
        failed: Whether the condition holds or, without a figure, cannot be judged.
        why: In words.
    """

    expression: str
    arm: str
    value: float | None
    failed: bool
    why: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a report says.

    Attributes:
        version: Version of the schema.
        source: Where the requests came from.
        requests: Requests that were decided.
        rejects: Records that could not be decided, by code.
        first_ms: Earliest timestamp, in ms since the epoch.
        last_ms: Latest timestamp.
        complete: Whether the replay went to the end of its source.
        level: Confidence of all intervals.
        margin: Percent of a task's events that a change may cost before it counts as a loss.
        outcomes: Whether outcomes were given.
        log: What was decided when the requests were live.
        arms: The arms.
        comparisons: Arms against the base, those to ship first.
        curves: Passing ratio against value, by task.
        views: The paper's views, by arm; empty without outcomes.
        checks: Conditions of ``--fail-if``.
    """

    version: int
    source: str
    requests: int
    rejects: Mapping[str, int]
    first_ms: int | None
    last_ms: int | None
    complete: bool
    level: float
    margin: float
    outcomes: bool
    log: Log
    arms: Sequence[Arm]
    comparisons: Sequence[Comparison]
    curves: Sequence[Curve]
    views: Sequence[Views]
    checks: Sequence[Check]
