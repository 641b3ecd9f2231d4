"""The report's tables: once made, rendered as HTML (report.html) and as Markdown (report.md)."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trainer.experiments.report import Against, Report
from trainer.experiments.stats import Estimate

MISSING = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first column names the row."""

    title: str
    note: str
    head: list[str]
    rows: list[list[str]]


def shown(value: Estimate | None, digits: int = 3, *, signed: bool = False) -> str:
    """Mean and half the interval: ``0.123 ± 0.004``."""
    if value is None:
        return MISSING
    mean = f"{value.mean:+.{digits}f}" if signed else f"{value.mean:.{digits}f}"
    return mean if value.low is None else f"{mean} ± {value.half:.{digits}f}"


def tables(report: Report) -> Iterator[Table]:
    """All tables in the order of reading."""
    yield _bars(report)
    yield from _claims(report)
    yield from _error_finding(report)
    yield from _passing(report)
    yield _scores(report)
    yield _table_1(report)
    yield _daum_minus(report)
    yield from _table_2(report)
    yield _student(report)
    yield _speed(report)
    yield from _rejection(report)
    yield _calibration(report)
    yield _rounds(report)
    yield from _shapes(report)
    yield from _sensitivity(report)


def _bars(report: Report) -> Table:
    rows = [
        [
            *(bar.key, shown(bar.value, 4), f"{bar.sense} {bar.bar:g}", f"{bar.aim:.3g}"),
            *(bar.verdict, _yes(bar.certain), _yes(bar.aim_reached)),
        ]
        for bar in report.bars
    ]
    note = "Certain: the whole 95 % interval is on the same side of the bar as the mean."
    head = ["figure", "value", "bar", "aim", "verdict", "certain", "aim reached"]
    return Table("Bars", note, head, rows)


def _yes(fact: bool) -> str:
    return "yes" if fact else "no"


def _claims(report: Report) -> Iterator[Table]:
    rows = [[claim.name, claim.claim, claim.verdict] for claim in report.claims]
    yield Table(
        "Claims of the paper",
        "Decided by intervals; see the evidence below.",
        ["claim", "what the paper says", "verdict"],
        rows,
    )
    evidence = [
        [
            claim.name,
            check.figure,
            shown(check.value, 4),
            f"{check.bar:g}",
            MISSING if check.paper is None else f"{check.paper:g}",
            check.verdict,
        ]
        for claim in report.claims
        for check in claim.evidence
    ]
    yield Table(
        "Evidence for the claims",
        "Each figure must exceed its bar.",
        ["claim", "figure", "value", "bar", "paper's", "says"],
        evidence,
    )


def _error_finding(report: Report) -> Iterator[Table]:
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


def _passing(report: Report) -> Iterator[Table]:
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
            "by the task whose u ranks; direct passes inside the budget, but for the column that "
            "grows it. Optimistic: rank by s + 0.5 u.",
            ["method", f"by {report.about.tasks[0]}"]
            + [f"by {task}" for task in report.about.tasks[1:]]
            + [f"by {report.about.tasks[0]}, growing", "optimistic"],
            rows,
        )


def _scores(report: Report) -> Table:
    settings = list(report.scores)
    names = list(dict.fromkeys(name for each in report.scores.values() for name in each))
    rows = [
        [name, *(shown(report.scores[setting].get(name), 2, signed=True) for setting in settings)]
        for name in names
    ]
    note = "Points of all deals that a method's own score keeps more than SWAG's mean; no u."
    return Table("Scores alone", note, ["method", *settings], rows)


def _table_1(report: Report) -> Table:
    rows = [
        [model, *(f"{shown(areas.auc_roc, 4)} / {shown(areas.auc_pr, 4)}" for areas in by.values())]
        for model, by in report.table_1.items()
    ]
    head = ["model", *_first_keys(report.table_1)]
    return Table("Table I", "AUC-ROC / AUC-PR per task.", head, rows)


def _daum_minus(report: Report) -> Table:
    rows = [
        [model]
        + [
            f"{shown(areas.auc_roc, 4, signed=True)} / {shown(areas.auc_pr, 4, signed=True)}"
            for areas in by.values()
        ]
        for model, by in report.table_1_daum_minus.items()
    ]
    head = ["model", *_first_keys(report.table_1_daum_minus)]
    return Table("Table I, DAUM minus the others", "Paired within the seed.", head, rows)


def _first_keys(tree: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return list(next(iter(tree.values()), {}))


def _table_2(report: Report) -> Iterator[Table]:
    for kind, methods in report.table_2.items():
        for experiment in _first_keys(methods):
            rows = []
            ratios: list[float] = []
            for name, found in methods.items():
                each = found[experiment]
                ratios = each.auc_roc.x
                pairs = zip(each.auc_roc.mean, each.auc_pr.mean, strict=True)
                row = [name, *(f"{roc:.4f} / {pr:.4f}" for roc, pr in pairs)]
                rows.append([*row, shown(each.auc_roc_gain, 4, signed=True)])
            yield Table(
                f"Table II: {experiment.replace('_', ' ')}, {kind}",
                "AUC-ROC / AUC-PR on what remains, by passing ratio, and the last AUC-ROC minus "
                "the first.",
                ["passed by", *(f"{ratio:g}" for ratio in ratios), "gain"],
                rows,
            )


def _student(report: Report) -> Table:
    rows = [
        [
            task,
            shown(each.auc_drop, 4, signed=True),
            shown(each.spearman),
            shown(each.spearman_ceiling),
            shown(each.spearman_of_ceiling),
            shown(each.tail_overlap),
            shown(each.tail_overlap_ceiling),
            shown(each.tail_overlap_of_ceiling),
            shown(each.tail_overlap_gain, signed=True),
        ]
        for task, each in report.student.items()
    ]
    return Table(
        "Student",
        "Against an independent set of teacher samples; the ceiling is what two such sets reach "
        "with each other. Gain: overlap of the most uncertain tenth minus p(1-p)'s.",
        ["task", "AUC drop", "Spearman", "ceiling", "of it", "tail", "ceiling", "of it", "gain"],
        rows,
    )


def _speed(report: Report) -> Table:
    rows = []
    for name, value in report.speed.items():
        pairs = value.items() if isinstance(value, dict) else [("", value)]
        rows += [[f"{name} {kind}".strip(), shown(each, 2)] for kind, each in pairs]
    note = "One thread, 512 requests a pass: microseconds per request, and ratios."
    return Table("Speed", note, ["figure", "value"], rows)


def _rejection(report: Report) -> Iterator[Table]:
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
            "1 rejects as the risk itself would, 0 as chance does. AURC stands in report.json.",
            ["method", *head],
            rows,
        )


def _calibration(report: Report) -> Table:
    by_method = report.quality.get("base", {})
    rows = [
        [name, *(f"{shown(each.ece, 4)} / {shown(each.true_error, 4)}" for each in by.values())]
        for name, by in by_method.items()
    ]
    note = "Expected calibration error / mean |p - p_true|, setting base."
    return Table("Calibration", note, ["method", *_first_keys(by_method)], rows)


def _rounds(report: Report) -> Table:
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


def _shapes(report: Report) -> Iterator[Table]:
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


def _sensitivity(report: Report) -> Iterator[Table]:
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
