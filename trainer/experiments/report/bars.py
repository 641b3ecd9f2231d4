"""The bars that the figures must reach, and whether they do."""

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

from models.tasks import TaskSet
from trainer.experiments.plan import Plan
from trainer.experiments.report.results import Results
from trainer.experiments.report.stats import Estimate

Sense = Literal["at least", "at most"]
Verdict = Literal["held", "missed", "no bar", "not measured"]
NOT_METHODS = ("bernoulli", "base_rate", "random", "oracle", "oracle_error")
"""Controls, which need no method and are no contenders."""
AUTO_FLOOR = -0.1
NEAR_TRUTH = 0.7
"""Share of the true ratio of error in data-poor segments that u's should show."""


class Bar(BaseModel):
    """One figure against its bar.

    Attributes:
        key: Where the figure stands in the report.
        sense: Whether the figure must be at least, or at most, the bar.
        bar: The bar; None where there is an aim alone.
        aim: What would be good.
        value: The figure; None where it was not measured.
        verdict: By the mean.
        certain: Whether the whole 95 % interval lies on the same side of the bar, or of the aim
            where there is no bar.
        aim_reached: By the mean.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    sense: Sense
    bar: float | None
    aim: float
    value: Estimate | None
    verdict: Verdict
    certain: bool
    aim_reached: bool

    @property
    def asked(self) -> str:
        """The bar in words."""
        return "-" if self.bar is None else f"{self.sense} {self.bar:g}"


def judge_bars(results: Results, tasks: TaskSet, plan: Plan) -> list[Bar]:
    """All bars."""
    return [
        *_student(results, tasks),
        *_speed(results),
        _bar(results, f"averaging.{tasks.names[0]}_auc_pr_gain", "at least", -0.001, 0.003),
        *_passing(results, plan),
        *_error_finding(results, tasks),
    ]


def best_method(results: Results, task: str) -> str | None:
    """The method whose u finds the errors of ``task`` best within bins of p, by the mean.

    Chosen on the rows that it is then reported on, so its mean is slightly flattered.
    """
    means = {}
    for name in results.names("error_finding.base"):
        value = results.figure(f"error_finding.base.{name}.{task}.within_bins.value")
        if name not in NOT_METHODS and value is not None:
            means[name] = value.mean
    return max(means, key=means.__getitem__) if means else None


def _student(results: Results, tasks: TaskSet) -> Iterator[Bar]:
    for task in tasks.names:
        key = f"student.{task}"
        yield _bar(results, f"{key}.auc_drop", "at most", 0.002, 0.0005)
        yield _bar(results, f"{key}.spearman_of_ceiling", "at least", 0.95, 1.0)
        yield _bar(results, f"{key}.tail_overlap_of_ceiling", "at least", 0.85, 0.95)
    yield _bar(results, f"student.{tasks.names[0]}.tail_overlap_gain", "at least", 0.15, 0.30)


def _speed(results: Results) -> Iterator[Bar]:
    yield _bar(results, "speed.student_us", "at most", 6, 3)
    for kind in ("ple_mlp", "ple_transformer"):
        yield _bar(results, f"speed.teacher_over_student.{kind}", "at least", 60, 100)


def _passing(results: Results, plan: Plan) -> Iterator[Bar]:
    for setting in plan.settings:
        key = f"passing.{setting}.auto.deals_vs_score_points"
        yield _bar(results, key, "at least", AUTO_FLOOR, 0.0)


def _error_finding(results: Results, tasks: TaskSet) -> Iterator[Bar]:
    """The best u on the first task; the same figures are aims for the last."""
    first, last = tasks.names[0], tasks.names[-1]
    best = best_method(results, first)
    if best is None:
        return
    for task in (first, last):
        inner, key = f"error_finding.base.{best}.{task}", f"error_finding.{best}.{task}"
        true = results.figure(f"{inner}.true_poor_ratio")
        for name, bar, aim in (
            ("within_bins.value", 0.12, 0.20),
            ("within_bins.gain", 0.0, 0.0),
            ("poor_ratio.value", 1.3, NEAR_TRUTH * true.mean if true else 1.3),
            ("worst_tenth_auroc.gain", -0.03, 0.0),
        ):
            value, limit = results.figure(f"{inner}.{name}"), bar if task == first else None
            yield _judged(f"{key}.{name}", value, "at least", limit, aim)


def _bar(results: Results, key: str, sense: Sense, bar: float, aim: float) -> Bar:
    return _judged(key, results.figure(key), sense, bar, aim)


def _judged(key: str, value: Estimate | None, sense: Sense, bar: float | None, aim: float) -> Bar:
    sign = 1.0 if sense == "at least" else -1.0
    limit = aim if bar is None else bar
    verdict: Verdict = "not measured"
    certain = reached = False
    if value is not None:
        held = sign * value.mean >= sign * limit
        worse = value.low if (sense == "at least") == held else value.high
        verdict = "no bar" if bar is None else "held" if held else "missed"
        certain = worse is not None and (sign * worse >= sign * limit) == held
        reached = sign * value.mean >= sign * aim
    return Bar(
        key=key,
        sense=sense,
        bar=bar,
        aim=aim,
        value=value,
        verdict=verdict,
        certain=certain,
        aim_reached=reached,
    )
