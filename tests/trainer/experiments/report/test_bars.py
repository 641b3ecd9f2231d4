from collections.abc import Mapping

from models.tasks import DEFAULT_TASKS
from trainer.experiments.plan import Plan
from trainer.experiments.raw import Measured
from trainer.experiments.report.bars import Bar, evaluate_bars
from trainer.experiments.report.results import Results

FINDING = {
    "within_bins.value": 0.15,
    "within_bins.gain": 0.1,
    "poor_ratio.value": 1.4,
    "worst_tenth_auroc.gain": -0.01,
    "true_poor_ratio": 1.8,
}


def bars_of(*seeds: Mapping[str, float]) -> dict[str, Bar]:
    done = {("unit", seed): Measured(dict(figures)) for seed, figures in enumerate(seeds, 1)}
    plan = Plan.full(len(seeds), "ple-mlp")
    return {bar.key: bar for bar in evaluate_bars(Results(done), DEFAULT_TASKS, plan)}


def finding(method: str, task: str, **changes: float) -> dict[str, float]:
    figures = FINDING | {name.replace("__", "."): value for name, value in changes.items()}
    return {f"error_finding.base.{method}.{task}.{name}": value for name, value in figures.items()}


def test_a_bar_is_held_or_missed_by_the_mean_and_certain_by_the_interval() -> None:
    """The mean decides; an interval that reaches over the bar leaves it uncertain."""
    key = "student.click.auc_drop"
    near = bars_of({key: 0.001}, {key: 0.002}, {key: 0.0025})[key]
    assert (near.verdict, near.certain, near.aim_reached) == ("held", False, False)
    far = bars_of({key: 0.01}, {key: 0.0101}, {key: 0.0102})[key]
    assert (far.verdict, far.certain, far.aim_reached) == ("missed", True, False)
    good = bars_of({key: 0.0001}, {key: 0.0002}, {key: 0.0001})[key]
    assert (good.verdict, good.certain, good.aim_reached) == ("held", True, True)


def test_what_was_not_measured_is_no_bar_held() -> None:
    """Bars of figures that are not there say so; one seed alone makes nothing certain."""
    bars = bars_of({"speed.student_us": 2.0})
    assert bars["speed.student_us"].verdict == "held"
    assert not bars["speed.student_us"].certain
    missing = bars["student.deal.auc_drop"]
    assert (missing.verdict, missing.certain, missing.aim_reached) == ("not measured", False, False)


def test_the_best_method_on_the_first_task_is_held_against_the_bars() -> None:
    """It is chosen among the contenders; controls do not count, however well they do."""
    worse = finding("swag", "click", within_bins__value=0.1)
    control = finding("oracle_error", "click", within_bins__value=0.9)
    bars = bars_of(worse | control | finding("count", "click"))
    assert not any(".swag." in key or ".oracle_error." in key for key in bars)
    key = "error_finding.count.click"
    assert bars[f"{key}.within_bins.value"].verdict == "held"
    assert not bars[f"{key}.within_bins.value"].aim_reached
    assert bars[f"{key}.poor_ratio.value"].aim == 0.7 * 1.8
    assert bars[f"{key}.worst_tenth_auroc.gain"].verdict == "held"


def test_for_the_last_task_the_same_figures_are_aims() -> None:
    """Deals are too few for a bar: nothing is missed, and the aim says what would be good."""
    low = finding("count", "deal", within_bins__value=0.05, poor_ratio__value=1.27)
    bars = bars_of(finding("count", "click") | low)
    within = bars["error_finding.count.deal.within_bins.value"]
    assert (within.bar, within.verdict, within.aim_reached) == (None, "no bar", False)
    assert within.asked == "-"
    assert bars["error_finding.count.deal.poor_ratio.value"].aim_reached
