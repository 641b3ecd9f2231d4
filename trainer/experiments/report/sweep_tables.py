"""Tables of the sweeps: rounds, the funnel's shape, and the parameters of SWAG."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from trainer.experiments.report.report import Report
from trainer.experiments.report.stats import Estimate
from trainer.experiments.report.table import Table, shown


def rounds_table(report: Report) -> Table:
    """Rounds of selection and retraining."""
    rows = [
        [
            arm,
            shown(each.get("model"), 2),
            shown(each.get("model_points"), 2, signed=True),
            shown(each.get("stream"), 2),
            shown(each.get("stream_points"), 2, signed=True),
            shown(each.get("auc_points"), 2, signed=True),
        ]
        for arm, each in report.rounds.items()
    ]
    return Table(
        "Rounds of select-and-retrain",
        "Deals that the last model keeps of the test's, and that passed in the rounds, in percent; "
        "differences to passing by score alone, paired; AUC-ROC of the first task times 100.",
        ["arm", "model", "- score's", "stream", "- score's", "AUC - score's"],
        rows,
    )


def shape_tables(report: Report) -> Iterator[Table]:
    """Effects of correlation between tasks, and of sparsity."""
    for title, tree in (
        ("Correlation between tasks", report.correlation),
        ("Sparsity", report.sparsity),
    ):
        rows = []
        for level, found in tree.items():
            truth = found.get("truth_correlation")
            for method, each in found.items():
                if isinstance(each, dict):
                    rows.append([level, shown(truth, 2), method, *_shape_row(each, report)])
        yield Table(
            title,
            "Spearman of the first and last task's truth, and of their u; points of deals by the "
            "first and by the last task's u at equal budget; within-bin error finding.",
            [
                "level",
                "truth",
                "method",
                "u",
                "by first",
                "by last",
                "first within bins",
                "last within bins",
            ],
            rows,
        )


def _shape_row(each: Mapping[str, Any], report: Report) -> list[str]:
    def within(task: str) -> Estimate | None:
        found: Estimate | None = each.get(task, {}).get("within_bins", {}).get("value")
        return found

    return [
        shown(each.get("uncertainty_correlation"), 2),
        shown(each.get("deals_vs_score_points"), 2, signed=True),
        shown(each.get("own_source_points"), 2, signed=True),
        shown(within(report.about.tasks[0])),
        shown(within(report.about.tasks[-1])),
    ]


def sensitivity_tables(report: Report) -> Iterator[Table]:
    """SWAG by number of snapshots, number of samples, and covariance scale."""
    columns: dict[str, tuple[str, Callable[[Estimate | None], str]]] = {
        "auc_pr": ("AUC-PR", lambda value: shown(value, 4)),
        "mean_u": ("mean u", lambda value: shown(value, 4)),
        "ceiling": ("two sets' Spearman", shown),
        "within_bins": ("within bins", shown),
        "within_bins_last": ("within bins, last", shown),
        "deals_vs_score_points": ("deals, points", lambda value: shown(value, 2, signed=True)),
    }
    for name, levels in report.sensitivity.items():
        rows = [
            [level.replace("_", "."), *(show(each.get(key)) for key, (_, show) in columns.items())]
            for level, each in levels.items()
        ]
        head = [name, *(title for title, _ in columns.values())]
        yield Table(f"Sensitivity to {name}", "SWAG, first task.", head, rows)
