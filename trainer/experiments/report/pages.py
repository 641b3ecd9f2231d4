"""Renders the report as report.html (one file with plots), report.md and its plots."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from models.plots import Line, line_plot
from trainer.experiments.report.report import Report
from trainer.experiments.report.stats import Curve
from trainer.experiments.report.table import Table
from trainer.experiments.report.tables import tables

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:82rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:.6rem 0;font-size:13px}
td,th{padding:.15rem .6rem;text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left}tr{border-bottom:1px solid #ddd}
figure{display:inline-block;margin:.4rem;vertical-align:top}figcaption{font-weight:600}
p{color:#444}.reproduced,.held{color:#17692f}.missed{color:#a31515}
.not{color:#a31515}.undecided{color:#8a5a00}
"""
PLOTS: tuple[tuple[str, str, str, str], ...] = (
    ("figure_2a", "2a: deals in direct passes", "share passed directly", "share of deals"),
    ("figure_2b", "2b: deals passed among the rest", "share passed directly", "share of deals"),
    ("figure_2c", "2c: deals passed, growing budget", "share passed directly", "share of deals"),
    ("figure_2c_fixed", "2c at a fixed budget", "share passed directly", "share of deals"),
    (
        "figure_2d",
        "2d: deals kept among the rest",
        "share of deals passed directly",
        "share of the rest's deals",
    ),
    ("figure_3", "3: the student's residual areas", "share passed directly", "area"),
    ("figure_4", "4: deals passed by the student", "share passed directly", "share of deals"),
    ("figure_4_fixed", "4 at a fixed budget", "share passed directly", "share of deals"),
    ("figure_5", "5: distribution of u", "u (share of the 99.5 % quantile)", "share of rows"),
    ("rounds_curves", "Rounds: what the model keeps", "round", "share of deals"),
)


def html_page(report: Report) -> str:
    """Render the report as one HTML page."""
    about = report.about
    figures = [
        f"<figure><figcaption>{escape(plot.title)}</figcaption>{plot.svg}</figure>"
        for plot in plots(report)
    ]
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Weir experiments</title>"
        f"<style>{STYLE}</style><h1>Experiments: {escape(about.source)}, {about.preset}</h1>",
        f"<p>{escape(_about(report))}</p>",
        *(f"<p>{escape(note)}</p>" for note in about.notes),
        "<h2>Figures</h2>",
        *figures,
        *(_html(table) for table in tables(report) if table.rows),
    ]
    return "\n".join(parts) + "</html>\n"


def markdown_page(report: Report) -> str:
    """Render the tables as Markdown, with links to the plots in the folder ``plots``."""
    parts = [f"# Experiments: {report.about.source}, {report.about.preset}", _about(report)]
    parts += report.about.notes
    parts += [_markdown(table) for table in tables(report) if table.rows]
    parts += ["## Figures", *(f"**{p.title}**\n\n![{p.title}]({p.file})" for p in plots(report))]
    return "\n\n".join(parts) + "\n"


def _about(report: Report) -> str:
    about = report.about
    quick = " A quick run: its figures are meaningless." if about.preset == "quick" else ""
    return (
        f"{about.command}, {about.created}. Seeds {', '.join(map(str, about.seeds))}; teacher of "
        f"the sweeps {about.teacher}; r = {about.rate:g}, {about.direct_share:.0%} direct. Means "
        f"over seeds ± half of the 95 % interval (t).{quick}"
    )


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot of the report.

    Attributes:
        name: Name of its file without suffix.
        title: Title of the plot.
        svg: The plot with its legend.
    """

    name: str
    title: str
    svg: str

    @property
    def file(self) -> str:
        """Path relative to the report."""
        return f"plots/{self.name}.svg"


def plots(report: Report) -> list[Plot]:
    """All plots that have data."""
    drawn = [(name, title, getattr(report, name), x, y) for name, title, x, y in PLOTS]
    drawn += [
        (
            f"rejection_{task}",
            f"Rejection: {task}",
            curves,
            "share kept, most trusted first",
            "risk",
        )
        for task, curves in report.rejection_curves.items()
    ]
    found = [Plot(name, title, _svg(curves, x, y)) for name, title, curves, x, y in drawn]
    return [plot for plot in found if plot.svg]


def _svg(curves: Mapping[str, Curve], x_label: str, y_label: str) -> str:
    lines = {name: Line(each.x, each.mean, each.low, each.high) for name, each in curves.items()}
    return line_plot(lines, x_label, y_label)


def _html(table: Table) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in table.head)
    rows = "".join(
        "<tr>"
        + "".join(f"<td class='{_class(cell)}'>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for row in table.rows
    )
    return (
        f"<h2>{escape(table.title)}</h2><p>{escape(table.note)}</p>"
        f"<table><tr>{head}</tr>{rows}</table>"
    )


def _class(cell: str) -> str:
    words = cell.split()
    known = ("held", "missed", "reproduced", "not", "undecided")
    return words[0] if words and len(words) < 3 and words[0] in known else ""


def _markdown(table: Table) -> str:
    lines = [
        f"## {table.title}",
        "",
        table.note,
        "",
        _row(table.head),
        _row(["---"] * len(table.head)),
    ]
    return "\n".join(lines + [_row(row) for row in table.rows])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
