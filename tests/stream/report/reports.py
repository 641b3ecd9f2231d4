"""Reports made by hand, for the page and the checks."""

from dataclasses import replace
from typing import Any

from stream.report.content import (
    SHIP,
    VERSION,
    Arm,
    ArmCurve,
    Comparison,
    Curve,
    EqualRate,
    Group,
    Grouping,
    Interval,
    Log,
    Method,
    Report,
    TaskChange,
)
from stream.report.text import shown
from stream.report.view_content import (
    CalibrationBin,
    RejectionPoint,
    ResidualPoint,
    StrategyPoint,
    Views,
)

HOSTILE = (
    "<script>alert(1)</script>",
    "</title><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    '" autofocus onfocus="alert(1)',
    "]]>&lt;svg/onload=alert(1)>",
    "\u202egnp.exe\x00\x1b[31m",
    "{{ 7 * 7 }}{% raw %}",
    "x" * 100_000,
    "\ud800",
)


def task_change(name: str, low: float, value: float, high: float) -> TaskChange:
    """A supported change of a task, in percent of 10 events per 1,000 requests."""
    kept = Interval(value, low, high)
    change = Interval(value / 10, low / 10, high / 10)
    return TaskChange(
        task=name,
        base_per_1000=10.0,
        change_per_1000=change,
        kept=kept,
        worst=low / 10 - 1,
        best=high / 10 + 1,
        ess=812.5,
        rows=10_000,
        supported=True,
        why="900 labelled of 2,000 requests that are treated differently",
        methods=[Method("stratified", change, 812.5, supported=True, why="as above")],
        equal_rate=EqualRate(0.6, 0.8, 0.82, Interval(2.0, 1.0, 3.0)),
    )


def refused(name: str) -> TaskChange:
    """A task of which the log says nothing."""
    why = "the log never passes 900 of the 2,000 requests"
    return replace(
        task_change(name, 0, 0, 0),
        change_per_1000=None,
        kept=None,
        supported=False,
        why=why,
        ess=0.0,
        methods=[Method("stratified", None, 0.0, supported=False, why=why)],
        equal_rate=None,
    )


def group(value: str, base: float, arm: float, **changes: Interval | None) -> Group:
    """A group of 1,000 requests."""
    return Group(value, 1000, base, arm, 30, 20, changes)


def comparison(arm: str = "b", *tasks: TaskChange, **changes: Any) -> Comparison:
    """An arm against base, by exchange."""
    groups = [
        group("north", 0.7, 0.8, deal=Interval(1.0, 0.5, 1.5)),
        group("south", 0.5, 0.4, deal=Interval(-1.0, -1.5, -0.5)),
        group("west", 0.6, 0.6, deal=None),
    ]
    made = Comparison(
        arm=arm,
        base="base",
        verdict=SHIP,
        why=f"{arm} gains. It loses nothing.",
        requests=3000,
        differ=150,
        newly_passed=90,
        newly_blocked=60,
        base_passed=0.6,
        arm_passed=0.61,
        tasks=tasks or [task_change("click", 1, 2, 3), task_change("deal", -2, 5, 12)],
        groups=[Grouping("exchange", groups, 0, 0)],
    )
    return replace(made, **changes)


def views(arm: str) -> Views:
    """The paper's views on an arm with two tasks."""
    tasks, ratios = ("click", "deal"), (0.0, 0.1, 0.2)
    return Views(
        arm=arm,
        task="deal",
        passes=0.6,
        residual=[
            ResidualPoint(task, source, ratio, 0.7 + ratio / 10, 0.68, 0.75, 0.1, 900, 800.0)
            for task in tasks for source in tasks for ratio in ratios
        ],
        strategies=[
            StrategyPoint(budget, source, ratio, ratio, 9.0, 9.0 + ratio, 8.5, 9.5, 900)
            for budget in ("fixed", "growing") for source in tasks for ratio in ratios
        ],
        rejection=[
            RejectionPoint(task, order, left, 0.1 - left / 20, 0.05, 0.11, 900, 0.09)
            for task in tasks for order in ("uncertainty", "p(1-p)", "chance") for left in ratios
        ],
        calibration=[
            CalibrationBin(task, "*", n, n / 10, n / 11, n / 12, n / 9, 90, 80.0, 0.01)
            for task in tasks for n in range(3)
        ],
    )  # fmt: skip


def report(*comparisons: Comparison, **changes: Any) -> Report:
    """A report with a curve of clicks."""
    compared = comparisons or (comparison(),)
    rates = [n / 40 for n in range(41)]
    kept = [rate**0.5 for rate in rates]
    low, high = [v * 0.95 for v in kept], [min(1.0, v * 1.05) for v in kept]
    arms = ["base", *(one.arm for one in compared)]
    curve = Curve(
        task="click",
        requests=3000,
        share=1.0,
        events=200,
        ess=150.0,
        why="",
        rates=rates,
        oracle=[min(1.0, 10 * rate) for rate in rates],
        arms=[ArmCurve(arm, kept, low, high) for arm in arms],
    )
    made = Report(
        version=VERSION,
        source="requests.parquet",
        requests=3000,
        rejects={"invalid-json": 3},
        first_ms=1_767_225_600_000,
        last_ms=1_767_229_200_000,
        complete=True,
        level=0.95,
        margin=1.0,
        outcomes=True,
        log=Log(2000, 1000, 0, 300, 0),
        arms=[Arm(arm, 0.6, [f"model-{arm}"]) for arm in arms],
        comparisons=compared,
        curves=[curve],
        views=[views(compared[0].arm)],
        checks=[],
    )
    return replace(made, **changes)


def hostile_report() -> Report:
    """A report whose names are all hostile, bounded as the builder bounds them."""
    names = [shown(text) for text in HOSTILE]
    groups = [group(name, 0.5, 0.6, deal=Interval(1.0, 0.5, 1.5)) for name in names]
    compared = [
        comparison(name, groups=[Grouping(name, groups, 3, 100)], why=f"{name} gains. So it is.")
        for name in names
    ]
    return report(*compared, source=shown(HOSTILE[0], 200), rejects=dict.fromkeys(names, 1))
