"""The bars that figures must reach, and their verdicts."""

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
"""Controls, which are not compared as methods."""
AUTO_FLOOR = -0.1
NEAR_TRUTH = 0.7
"""Share of the error's data-poor ratio that the ratio of u should reach."""


class Bar(BaseModel):
    """A figure and its bar.

    Attributes:
        key: Key of the figure in the report.
        sense: Whether the figure must be at least, or at most, the bar.
        bar: Value that the figure must reach; None if it has only an aim.
        aim: Value that the figure should reach.
        value: The figure; None if it was not measured.
        verdict: Whether the mean reaches the bar.
        certain: Whether the whole 95 % interval lies on the same side of the bar, or of the aim
            where there is no bar.
        aim_reached: Whether the mean reaches the aim.
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
        """Sense and bar as text."""
        return "-" if self.bar is None else f"{self.sense} {self.bar:g}"


def evaluate_bars(results: Results, tasks: TaskSet, plan: Plan) -> list[Bar]:
    """Compare all figures with their bars."""
    return [
        *_student(results, tasks),
        *_speed(results),
        _bar(results, f"averaging.{tasks.names[0]}_auc_pr_gain", "at least", -0.001, 0.003),
        *_passing(results, plan),
        *_error_finding(results, tasks),
    ]


def best_method(results: Results, task: str) -> str | None:
    """The method with the best mean error finding within bins of p for ``task``.

    It is chosen on the rows that it is reported on, so its mean is slightly too good.
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
    """Bars of the best method on the first task; on the last task the figures have aims only."""
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
            yield _evaluated(f"{key}.{name}", value, "at least", limit, aim)


def _bar(results: Results, key: str, sense: Sense, bar: float, aim: float) -> Bar:
    return _evaluated(key, results.figure(key), sense, bar, aim)


def _evaluated(
    key: str, value: Estimate | None, sense: Sense, bar: float | None, aim: float
) -> Bar:
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
