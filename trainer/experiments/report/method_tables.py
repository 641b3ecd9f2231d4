"""Tables that compare the uncertainty methods in each setting."""

from collections.abc import Iterator

from trainer.experiments.report.report import Against, Report
from trainer.experiments.report.table import MISSING, Table, first_keys, shown


def error_finding_tables(report: Report) -> Iterator[Table]:
    """Error finding of u per setting, for the first and the last task."""
    for setting, methods in report.error_finding_settings.items():
        for task in (report.about.tasks[0], report.about.tasks[-1]):
            rows = []
            for name, by_task in methods.items():
                found = by_task.get(task)
                if found is None:
                    continue
                rows.append(
                    [
                        name,
                        shown(found.spearman.value),
                        shown(found.within_bins.value),
                        shown(found.within_bins.gain, signed=True),
                        shown(found.worst_tenth_auroc.value),
                        shown(found.worst_tenth_auroc.gain, signed=True),
                        _against(found.poor_ratio),
                        shown(found.true_poor_ratio, 2),
                    ]
                )
            yield Table(
                f"Finding the model's own errors: {task}, {setting}",
                "Rank correlation of u with |p - p_true|, overall and within bins of p; AUROC of "
                "the worst tenth; mean u in data-poor segments over the rest, beside p(1-p)'s and "
                "the true error's. Differences are to p(1-p), paired.",
                [
                    "method",
                    "overall",
                    "within bins",
                    "- p(1-p)'s",
                    "worst tenth",
                    "- p(1-p)'s",
                    "data-poor ratio (p(1-p)'s)",
                    "true ratio",
                ],
                rows,
            )


def _against(found: Against) -> str:
    return f"{shown(found.value, 2)} ({shown(found.bernoulli, 2)})"


def passing_tables(report: Report) -> Iterator[Table]:
    """Gains of direct passes per setting."""
    last = report.about.tasks[-1]
    for setting, methods in report.passing.items():
        rows = []
        for name, found in methods.items():
            row = [name, shown(found.deals_vs_score_points, 2, signed=True)]
            row += [
                shown(source.fixed_points, 2, signed=True)
                for task, source in found.by_source.items()
                if task != report.about.tasks[0]
            ] or [MISSING] * (len(report.about.tasks) - 1)
            first = found.by_source.get(report.about.tasks[0])
            row.append(shown(first.growing_points if first else None, 2, signed=True))
            row.append(shown(found.optimistic_points, 2, signed=True))
            rows.append(row)
        share, rate = report.about.direct_share, report.about.rate
        yield Table(
            f"Direct passes: {setting}",
            f"Points of all {last}s gained over score alone at r = {rate:g}, {share:.0%} direct, "
            "by the u of each task; direct passes are inside the budget, except in the column "
            "growing. Optimistic: ranking by s + 0.5 u.",
            ["method", f"by {report.about.tasks[0]}"]
            + [f"by {task}" for task in report.about.tasks[1:]]
            + [f"by {report.about.tasks[0]}, growing", "optimistic"],
            rows,
        )


def scores_table(report: Report) -> Table:
    """Deals that the methods' own scores keep."""
    settings = list(report.scores)
    names = list(dict.fromkeys(name for each in report.scores.values() for name in each))
    rows = [
        [name, *(shown(report.scores[setting].get(name), 2, signed=True) for setting in settings)]
        for name in names
    ]
    note = "Points of all deals that a method's own score keeps more than SWAG's mean; no u."
    return Table("Scores alone", note, ["method", *settings], rows)


def rejection_tables(report: Report) -> Iterator[Table]:
    """Prediction-rejection ratios per setting."""
    for setting, methods in report.rejection.items():
        tasks = (report.about.tasks[0], report.about.tasks[-1])
        rows = [
            [name]
            + [
                shown(value, 3)
                for task in tasks
                for value in (by[task].rejection_ratio, by[task].true_rejection_ratio)
            ]
            for name, by in methods.items()
        ]
        head = [f"{task}, {risk}" for task in tasks for risk in ("log-loss", "true error")]
        yield Table(
            f"Prediction-rejection ratio: {setting}",
            "1 for rejection by the risk itself, 0 for chance. AURC is in report.json.",
            ["method", *head],
            rows,
        )


def calibration_table(report: Report) -> Table:
    """Calibration of the methods' scores."""
    by_method = report.quality.get("base", {})
    rows = [
        [name, *(f"{shown(each.ece, 4)} / {shown(each.true_error, 4)}" for each in by.values())]
        for name, by in by_method.items()
    ]
    note = "Expected calibration error / mean |p - p_true|, setting base."
    return Table("Calibration", note, ["method", *first_keys(by_method)], rows)
