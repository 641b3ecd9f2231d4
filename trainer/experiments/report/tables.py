"""All tables of the report; `pages.py` renders them as HTML and as Markdown."""

from collections.abc import Iterator

from trainer.experiments.report import method_tables, sweep_tables
from trainer.experiments.report.report import Report
from trainer.experiments.report.table import MISSING, Table, first_keys, shown


def tables(report: Report) -> Iterator[Table]:
    """All tables in the order of the report."""
    yield _bars(report)
    yield from _claims(report)
    yield from method_tables.error_finding_tables(report)
    yield from method_tables.passing_tables(report)
    yield method_tables.scores_table(report)
    yield _table_1(report)
    yield _daum_minus(report)
    yield from _table_2(report)
    yield _student(report)
    yield _speed(report)
    yield from method_tables.rejection_tables(report)
    yield method_tables.calibration_table(report)
    yield sweep_tables.rounds_table(report)
    yield from sweep_tables.shape_tables(report)
    yield from sweep_tables.sensitivity_tables(report)


def _bars(report: Report) -> Table:
    rows = [
        [
            *(bar.key, shown(bar.value, 4), bar.asked, f"{bar.aim:.3g}"),
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
        ["claim", "statement of the paper", "verdict"],
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
        ["claim", "figure", "value", "bar", "paper's", "verdict"],
        evidence,
    )


def _table_1(report: Report) -> Table:
    rows = [
        [model, *(f"{shown(areas.auc_roc, 4)} / {shown(areas.auc_pr, 4)}" for areas in by.values())]
        for model, by in report.table_1.items()
    ]
    head = ["model", *first_keys(report.table_1)]
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
    head = ["model", *first_keys(report.table_1_daum_minus)]
    return Table("Table I, DAUM minus the others", "Paired within the seed.", head, rows)


def _table_2(report: Report) -> Iterator[Table]:
    for kind, methods in report.table_2.items():
        for experiment in first_keys(methods):
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
            f"{shown(each.tail_overlap_ceiling_low)} to {shown(each.tail_overlap_ceiling_high)}",
            shown(each.tail_overlap_of_ceiling),
            shown(each.tail_overlap_gain, signed=True),
        ]
        for task, each in report.student.items()
    ]
    return Table(
        "Student",
        "Agreement with independent sets of teacher samples; the ceiling is the mean agreement of "
        "two such sets, pairs are the least and the greatest. Gain: overlap of the most uncertain "
        "tenth minus p(1-p)'s.",
        [
            *("task", "AUC drop", "Spearman", "ceiling", "of it"),
            *("tail", "ceiling", "pairs", "of it", "gain"),
        ],
        rows,
    )


def _speed(report: Report) -> Table:
    rows = []
    for name, value in report.speed:
        pairs = value.items() if isinstance(value, dict) else [("", value)]
        rows += [[f"{name} {kind}".strip(), shown(each, 2)] for kind, each in pairs]
    note = "One thread, 512 requests a pass: microseconds per request, and ratios."
    return Table("Speed", note, ["figure", "value"], rows)
