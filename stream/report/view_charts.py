"""Plots of the paper's views: is the model right, and does its uncertainty know when it is not?"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from models.plots import PAGE, Axis, Frame, Line, Plot
from stream.report.charts import Figure
from stream.report.text import count, share, signed
from stream.report.view_content import (
    CalibrationBin,
    RejectionPoint,
    ResidualPoint,
    StrategyPoint,
    Views,
)

FRAME: Final = Frame(width=340, height=250, left=58, right=14, top=10, bottom=40)
ALL: Final = "*"
"""The scenario of all requests in calibration."""
OFF: Final = 0.1
"""Relative distance of predicted and happened from which scores are called too high or low."""


def view_figures(views: Views) -> list[Figure]:
    """All plots of one arm's views."""
    bins = [one for one in views.calibration if one.scenario == ALL]
    found: list[Figure | None] = []
    for task, group in groupby(bins, key=lambda one: one.task):
        found.append(_calibration(views.arm, task, list(group)))
    for task, points in groupby(views.rejection, key=lambda one: one.task):
        found.append(_rejection(views.arm, task, list(points)))
    for task, table in groupby(views.residual, key=lambda one: one.task):
        found.append(_residual(views.arm, task, list(table)))
    found += _strategies(views)
    return [figure for figure in found if figure is not None]


def _calibration(arm: str, task: str, bins: Sequence[CalibrationBin]) -> Figure | None:
    known = [
        (one.score, one.rate, one.low, one.high, one.ess or 0.0)
        for one in bins
        if one.score is not None and one.rate is not None
    ]
    weight = sum(ess for *_, ess in known)
    if not known or weight <= 0:
        return None
    top = 100 * max(max(score, high or rate) for score, rate, _, high, _ in known) or 1.0
    plot = Plot(Axis(0.0, top, f"predicted {task}, %"), Axis(0.0, top, "happened, %"), FRAME, PAGE)
    plot.line(Line([0.0, top], [0.0, top]), colour=PAGE.line, dash="5 4")
    for score, rate, low, high, _ in known:
        if low is not None and high is not None:
            plot.line(Line([100 * score] * 2, [100 * low, 100 * high]), colour=PAGE.series[1])
        plot.line(Line([100 * score], [100 * rate]), colour=PAGE.series[1], dots=True)
    predicted = sum(score * ess for score, *_, ess in known) / weight
    happened = sum(rate * ess for _, rate, *_, ess in known) / weight
    ratio = predicted / happened if happened else float("inf")
    word = "right on average" if abs(ratio - 1) <= OFF else "too high" if ratio > 1 else "too low"
    title = f"{task} scores are {word}: predicted {share(predicted)}, happened {share(happened)}"
    rows = sum(one.rows for one in bins)
    note = (
        f"{arm}: {len(known)} bins of scores, {count(rows)} labelled requests, as many as "
        f"{count(weight)} of equal weight. Lines: 95% intervals. On the dashed line scores are "
        "right."
    )
    return Figure(title, plot.svg(title), note)


def _rejection(arm: str, task: str, points: Sequence[RejectionPoint]) -> Figure | None:
    orders = {
        order: [point for point in group if point.error is not None]
        for order, group in groupby(points, key=lambda point: point.order)
    }
    drawn = {order: group for order, group in orders.items() if group}
    errors = [
        v for group in drawn.values() for p in group for v in _numbers(p.low, p.error, p.high)
    ]
    if not errors:
        return None
    plot = Plot(
        Axis(0.0, 100.0, "left out, %", (0, 25, 50, 75, 100)),
        Axis.around(errors, f"Brier score of the rest, {task}"),
        FRAME,
        PAGE,
    )
    for number, (order, group) in enumerate(drawn.items()):
        line = _line([100 * p.rejected for p in group], group, [p.error for p in group])
        plot.line(line, order, PAGE.series[(1, 2, 0)[number % 3]])
    areas = {order: group[0].aurc for order, group in drawn.items()}
    best, chance = areas.get("uncertainty"), areas.get("chance")
    word = "knows" if best is not None and chance is not None and best < chance else "does not know"
    said = ", ".join(f"{order} {area:.3g}" for order, area in areas.items() if area is not None)
    title = f"{task}: the uncertainty {word} where the model errs (AURC {said})"
    note = (
        f"{arm}: {count(points[0].rows)} labelled requests; bands: 95% intervals. AURC is the area "
        "under the whole curve; smaller is better."
    )
    return Figure(title, plot.svg(title), note)


def _residual(arm: str, task: str, points: Sequence[ResidualPoint]) -> Figure | None:
    by_source = {
        source: [point for point in group if point.auc_roc is not None]
        for source, group in groupby(points, key=lambda point: point.source)
    }
    drawn = {source: group for source, group in by_source.items() if len(group) > 1}
    if not drawn:
        return None
    values = [
        v for group in drawn.values() for p in group for v in _numbers(p.low, p.auc_roc, p.high)
    ]
    ratios = [100 * point.ratio for point in points]
    plot = Plot(
        Axis.around(ratios, "passed directly, %"),
        Axis.around(values, f"AUC-ROC of the rest, {task}"),
        FRAME,
        PAGE,
    )
    own = drawn.get(task)
    for number, (source, group) in enumerate(drawn.items()):
        name = f"u of {source}" if source != task else f"u of {source} (direct)"
        ratio_of = [100 * p.ratio for p in group]
        line = Line(ratio_of, [p.auc_roc or 0.0 for p in group])
        if group is own:
            line = _line(ratio_of, group, [p.auc_roc for p in group])
        plot.line(line, name, PAGE.series[(number + 1) % len(PAGE.series)])
    source, group = max(drawn.items(), key=lambda item: item[1][-1].auc_roc or 0.0)
    before, after = group[0].auc_roc or 0.0, group[-1].auc_roc or 0.0
    title = f"{task}: direct passing does not certainly leave an easier rest to rank"
    if (group[-1].low or 0.0) > before:
        title = (
            f"{task}: after {share(group[-1].ratio)} pass directly by u of {source}, the rest has "
            f"AUC {after:.3f} instead of {before:.3f}"
        )
    note = (
        f"{arm}, Table II: {count(points[0].rows)} labelled requests, as many as "
        f"{count(points[0].ess or 0.0)} of equal weight. Band: 95% interval of the direct one."
    )
    return Figure(title, plot.svg(title), note)


def _strategies(views: Views) -> Iterator[Figure | None]:
    for budget in ("fixed", "growing"):
        yield _strategy(views, budget, [p for p in views.strategies if p.budget == budget])


def _strategy(views: Views, budget: str, points: Sequence[StrategyPoint]) -> Figure | None:
    known = [point for point in points if point.total is not None]
    if not any(point.total for point in known):
        return None
    best = max(known, key=lambda point: point.total or 0.0)
    values = [v for p in known for v in _numbers(p.total)]
    values += [v for p in known if p.source == best.source for v in _numbers(p.low, p.high)]
    plot = Plot(
        Axis.around([100 * p.ratio for p in known], "passed directly, % of all requests"),
        Axis.around(values, f"{views.task} kept per 1,000 requests"),
        FRAME,
        PAGE,
    )
    for number, (source, group) in enumerate(_sources(known)):
        ratios, totals = [100 * p.ratio for p in group], [p.total or 0.0 for p in group]
        line = Line(ratios, totals)
        if source == best.source:
            line = _line(ratios, group, totals)
        plot.line(line, f"u of {source}", PAGE.series[(number + 1) % len(PAGE.series)])
    start = known[0].total or 0.0
    title = f"{budget.capitalize()} budget: no direct passing keeps more {views.task}"
    if best.ratio > 0:
        sure = "" if best.low is not None and best.low > start else ", not certain"
        title = (
            f"{budget.capitalize()} budget: {share(best.ratio, 0)} direct by u of {best.source} "
            f"adds {signed((best.total or 0.0) - start, 2)} {views.task} per 1,000{sure}"
        )
    note = (
        f"{views.arm}, Figure 2: {share(views.passes)} of the requests pass"
        f"{' in all' if budget == 'fixed' else ' by reward, direct ones in addition'}; "
        f"{count(known[0].rows)} labelled requests. Band: 95% interval of the best one's gain."
    )
    return Figure(title, plot.svg(title), note)


def _sources(points: Sequence[StrategyPoint]) -> Iterator[tuple[str, list[StrategyPoint]]]:
    for source, group in groupby(points, key=lambda point: point.source):
        yield source, list(group)


def _line(
    x: Sequence[float],
    points: Sequence[ResidualPoint] | Sequence[RejectionPoint] | Sequence[StrategyPoint],
    y: Sequence[float | None],
) -> Line:
    values = [float("nan") if value is None else value for value in y]
    return Line(x, values, [point.low for point in points], [point.high for point in points])


def _numbers(*values: float | None) -> list[float]:
    return [value for value in values if value is not None]
