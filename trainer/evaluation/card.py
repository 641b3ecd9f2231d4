"""The model card of an artifact: one HTML file with its metrics and plots.

Plots are inline SVG, so the file is self-contained.
"""

from html import escape

import numpy as np
import numpy.typing as npt

from models.artifact.manifest import AutoEvidence, Manifest, TaskMetrics
from models.plots import Axis, Frame, Line, Plot
from trainer.evaluation.metrics import calibration_bins
from trainer.gates.report import GateReport

FRAME = Frame(width=280, height=190, left=46, right=12, top=12, bottom=26)
HISTOGRAM_BINS = 40
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;text-align:right}
th:first-child,td:first-child{text-align:left}tr{border-bottom:1px solid #ddd}
figure{display:inline-block;margin:.4rem}figcaption{font-size:13px;text-align:center}
"""


def card_html(
    manifest: Manifest,
    scores_NT: npt.NDArray[np.float32],
    uncertainties_NT: npt.NDArray[np.float32],
    targets_NT: npt.NDArray[np.float32],
    gates: GateReport | None = None,
) -> str:
    """Render the card.

    Args:
        manifest: Manifest of the artifact.
        scores_NT: The student's scores of the held-out rows.
        uncertainties_NT: The student's uncertainties of these rows.
        targets_NT: Labels; NaN where masked.
        gates: Verdict of the gates; None before they were checked.
    """
    training = manifest.training
    parts = [
        (
            f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(manifest.version)}"
            f"</title><style>{STYLE}</style><h1>Weir artifact {escape(manifest.version)}</h1>"
        ),
        (
            f"<p>{training.rows:,} labelled and {training.unlabelled_rows:,} unlabelled requests, "
            f"evaluated on the {training.held_out_rows:,} newest. Seed {manifest.seed}. Largest "
            f"difference between torch and onnxruntime: {manifest.agreement:.1e}.</p>"
        ),
        _metrics_table(manifest),
        _selection_table(manifest),
        "" if gates is None else _gates_table(gates),
        _auto_table(manifest),
    ]
    for column, task in enumerate(manifest.tasks):
        known_N = ~np.isnan(targets_NT[:, column])
        scores_N = scores_NT[known_N, column].astype(np.float64)
        labels_N = targets_NT[known_N, column].astype(np.int64)
        parts.append(f"<h2>{escape(task.name)}</h2>")
        if len(labels_N):
            parts.append(_figure("calibration", _calibration(scores_N, labels_N)))
        parts.append(_figure("scores", _histogram(scores_NT[:, column])))
        parts.append(_figure("uncertainties", _histogram(uncertainties_NT[:, column])))
    return "\n".join(parts) + "</html>\n"


def _metrics_table(manifest: Manifest) -> str:
    head = ["task", "label rate", "model", "AUC-ROC", "AUC-PR", "log-loss", "ECE", "Spearman of u"]
    rows = []
    for name, rate in manifest.label_rates.items():
        correlation = f"{manifest.metrics.uncertainty_spearman[name]:.3f}"
        for model, metrics, u in (
            ("teacher", manifest.metrics.teacher[name], ""),
            ("student", manifest.metrics.student[name], correlation),
        ):
            rows.append([name, f"{rate:.4f}", model, *_figures(metrics), u])
    return _table(head, rows)


def _selection_table(manifest: Manifest) -> str:
    """The student's metrics by estimate: of passed, of all, and of would-be-blocked requests."""
    found = manifest.metrics
    head = ["task", "estimate", "rows", "effective", "positives"]
    rows = []
    for name, naive in found.student.items():
        for title, metrics in (
            ("naive: passed requests", naive),
            ("weighted: all requests", found.weighted.get(name)),
            ("explored: would be blocked", found.explored.get(name)),
        ):
            if metrics is None:
                continue
            effective = metrics.rows if metrics.effective_rows is None else metrics.effective_rows
            numbers = [f"{metrics.rows:,}", f"{effective:,.0f}", f"{metrics.positives:,}"]
            rows.append([name, title, *numbers, *_figures(metrics)])
    return (
        "<h2>Selection</h2><p>Held-out rows are requests that the policy passed. Weighted by their "
        "clipped inverse propensity they stand for all requests, as far as the effective number of "
        "rows allows; those that passed by exploration alone stand for the blocked ones.</p>"
        + _table([*head, "AUC-ROC", "AUC-PR", "log-loss", "ECE"], rows)
    )


def _figures(metrics: TaskMetrics) -> list[str]:
    values = (metrics.auc_roc, metrics.auc_pr, metrics.log_loss, metrics.ece)
    return ["-" if value is None else f"{value:.4f}" for value in values]


def _gates_table(report: GateReport) -> str:
    rows = [
        [
            gate.name,
            gate.verdict,
            *map(_figure_or_dash, (gate.figure, gate.low, gate.high, gate.limit)),
            gate.reason,
        ]
        for gate in report.gates
    ]
    against = report.serving or "the label rates of its training rows, since nothing comparable"
    return (
        f"<h2>Gates: {escape(report.verdict)}</h2><p>Candidate number {report.trial} against "
        f"{escape(against)} serves, on {report.rows:,} held-out requests. Bounds at level "
        f"{report.alpha_k:.2g}: the probability that any candidate is accepted without being "
        f"within a limit is at most {report.alpha:g} over all that are ever tried.</p>"
        + _table(["gate", "verdict", "figure", "low", "high", "limit", "in words"], rows)
    )


def _figure_or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _auto_table(manifest: Manifest) -> str:
    parts = [_evidence(auto) for auto in (manifest.auto, manifest.methods) if auto is not None]
    return "".join(parts)


def _evidence(auto: AutoEvidence) -> str:
    rows = [
        [
            f"{row.method}: {row.source}" if row.direct_share else "score alone",
            f"{row.direct_share:.0%}",
            f"{row.value:.4f}",
            f"{100 * row.gain:+.2f} ± {100 * row.gain_error:.2f}",
        ]
        for row in auto.table
    ]
    pick = f"{auto.direct_share:.0%} by {auto.source}" if auto.direct_share else "score alone"
    tested = (
        ""
        if auto.tested is None
        else (
            f" The best row, {auto.tested.direct_share:.0%} by {auto.tested.method}: "
            f"{auto.tested.source}, on separate rows: {100 * auto.tested.gain:+.2f} ± "
            f"{100 * auto.tested.gain_error:.2f} points."
        )
    )
    return (
        f"<h2>Passing uncertain requests directly</h2><p>Share of the held-out label value that "
        f"is kept when {auto.rate:.0%} of all requests are intercepted; direct passes count "
        f"against the same budget. Chosen: <b>{escape(pick)}</b>.{escape(tested)}</p>"
        + _table(["source of uncertainty", "direct share", "value kept", "gain, points"], rows)
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    cells = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return (
        f"<table><tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr>"
        + "".join(f"<tr>{row}</tr>" for row in cells)
        + "</table>"
    )


def _figure(caption: str, svg: str) -> str:
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def _calibration(scores_N: npt.NDArray[np.float64], labels_N: npt.NDArray[np.int64]) -> str:
    """Share positive over mean score, in bins of equal count, with the diagonal."""
    bins_B3 = calibration_bins(scores_N, labels_N)
    top = max(float(bins_B3[:, :2].max()), 1e-9)
    plot = Plot(Axis(0.0, top), Axis(0.0, top), FRAME)
    plot.line(Line([0.0, top], [0.0, top]), colour="#aaa")
    plot.line(Line(bins_B3[:, 0].tolist(), bins_B3[:, 1].tolist()), dots=True)
    return plot.svg()


def _histogram(values_N: npt.NDArray[np.float32]) -> str:
    """Number of rows by value, up to the largest 0.1 %."""
    top = max(float(np.quantile(values_N, 0.999)), 1e-9)
    counts_B, edges_E = np.histogram(values_N, HISTOGRAM_BINS, (0, top))
    plot = Plot(Axis(0.0, top), Axis(0.0, max(float(counts_B.max()), 1.0)), FRAME)
    plot.bars(edges_E.tolist(), counts_B.tolist())
    return plot.svg()
