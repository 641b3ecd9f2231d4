"""The content of report.json as types, and its construction from raw results.

``Report.model_json_schema()`` is its JSON schema. Estimates have a 95 % interval and the value of
every seed. A figure that could not be computed (one class only, unknown true probabilities) is left
out; a part that was not run is empty.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

from models.tasks import TaskSet
from trainer.experiments.plan import Plan
from trainer.experiments.report.bars import Bar, evaluate_bars
from trainer.experiments.report.checks import Claim
from trainer.experiments.report.claims import evaluate_claims
from trainer.experiments.report.results import Results
from trainer.experiments.report.stats import Curve, Estimate

Figure = dict[str, Curve]
"""Curves by name."""


class ReportModel(BaseModel):
    """Base of the report's parts: immutable; unknown fields are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class About(ReportModel):
    """Origin of the report.

    Attributes:
        command: Command that wrote the report.
        created: Time of the report, ISO 8601.
        preset: ``full`` or ``quick``; figures of a quick run are meaningless.
        source: Name of the data.
        teacher: Kind of the sweeps' teacher.
        seeds: Seeds of the run.
        rate: Intercepted share r.
        direct_share: Direct passes, as a share of all requests.
        tasks: Names of the tasks; passing should keep events of the last one.
        plan: All parameters of the plan.
        notes: Parts that were left out, with the reason.
    """

    command: str
    created: str
    preset: str
    source: str
    teacher: str
    seeds: list[int]
    rate: float
    direct_share: float
    tasks: list[str]
    plan: dict[str, Any]
    notes: list[str]


class Against(ReportModel):
    """A figure of u, the same figure of p (1 - p), and their paired difference."""

    value: Estimate | None = None
    bernoulli: Estimate | None = None
    gain: Estimate | None = None


class ErrorFinding(ReportModel):
    """How well u finds the model's own errors |p - p_true|.

    Attributes:
        spearman: Rank correlation over all requests.
        within_bins: Rank correlation within bins of equal p, averaged.
        worst_tenth_auroc: AUC-ROC for the tenth with the largest errors.
        poor_ratio: Mean u in data-poor segments over the mean elsewhere.
        true_poor_ratio: The same ratio of the true error.
    """

    spearman: Against = Against()
    within_bins: Against = Against()
    worst_tenth_auroc: Against = Against()
    poor_ratio: Against = Against()
    true_poor_ratio: Estimate | None = None


class SourcePassing(ReportModel):
    """Direct passes by one task's u, in points of all events of the last task.

    Attributes:
        fixed_points: Gain over score alone when direct passes are inside the budget.
        growing_points: Gain when they are added to the budget, as in the paper.
        passed_share: Share of requests that passed with the growing budget.
    """

    fixed_points: Estimate
    growing_points: Estimate
    passed_share: Estimate


class Passing(ReportModel):
    """Direct passes by one method.

    Attributes:
        deals_vs_score_points: Gain at equal budget by the first task's u (for ``auto``: by what
            validation data picked, 0 where that was nothing), in points of all deals.
        kept_by_score: Share of deals that this method's score alone keeps.
        optimistic_points: Gain of ranking by s + 0.5 u, no direct passes.
        by_source: Direct passes by the u of each task.
    """

    deals_vs_score_points: Estimate
    kept_by_score: Estimate | None = None
    optimistic_points: Estimate | None = None
    by_source: dict[str, SourcePassing] = {}


class Student(ReportModel):
    """The student on one task, compared with the ceiling that the teacher's sampling sets."""

    auc_drop: Estimate | None = None
    spearman: Estimate | None = None
    spearman_ceiling: Estimate | None = None
    spearman_of_ceiling: Estimate | None = None
    tail_overlap: Estimate | None = None
    tail_overlap_ceiling: Estimate | None = None
    tail_overlap_ceiling_low: Estimate | None = None
    tail_overlap_ceiling_high: Estimate | None = None
    tail_overlap_of_ceiling: Estimate | None = None
    tail_overlap_bernoulli: Estimate | None = None
    tail_overlap_gain: Estimate | None = None


class Areas(ReportModel):
    """AUC-ROC and AUC-PR."""

    auc_roc: Estimate | None = None
    auc_pr: Estimate | None = None


class Residual(ReportModel):
    """One third of Table II: areas along the passing ratio, and the last minus the first."""

    auc_roc: Curve
    auc_pr: Curve
    auc_roc_gain: Estimate | None = None
    auc_pr_gain: Estimate | None = None


class Rejection(ReportModel):
    """Rejection by u: areas under the risk-coverage curve, and prediction-rejection ratios.

    The risk is the labels' log-loss; with ``true_`` the squared error of the probability.
    """

    aurc: Estimate | None = None
    rejection_ratio: Estimate | None = None
    true_aurc: Estimate | None = None
    true_rejection_ratio: Estimate | None = None


class Quality(ReportModel):
    """Quality and calibration of one method's scores of one task."""

    auc_roc: Estimate | None = None
    auc_pr: Estimate | None = None
    log_loss: Estimate | None = None
    ece: Estimate | None = None
    true_error: Estimate | None = None


class Speed(ReportModel):
    """Microseconds per request, and ratios of the M-sample teachers to the student."""

    student_us: Estimate | None = None
    ple_mlp_us: Estimate | None = None
    ple_transformer_us: Estimate | None = None
    teacher_over_student: dict[str, Estimate] = {}


Tree = dict[str, Any]
ByTask = dict[str, ErrorFinding]


class PaperTeacher(ReportModel):
    """Passing and error finding by SWAG with the paper's teacher, by kind."""

    passing: dict[str, Passing] = {}
    error_finding: dict[str, ByTask] = {}


class Report(ReportModel):
    """Content of report.json."""

    about: About
    bars: list[Bar]
    claims: list[Claim]
    error_finding: dict[str, ByTask]
    error_finding_settings: dict[str, dict[str, ByTask]]
    passing: dict[str, dict[str, Passing]]
    student: dict[str, Student]
    speed: Speed
    averaging: dict[str, Estimate]
    distribution: dict[str, Estimate]
    table_1: dict[str, dict[str, Areas]]
    table_1_daum_minus: dict[str, dict[str, Areas]]
    table_2: dict[str, dict[str, dict[str, Residual]]]
    figure_2a: Figure
    figure_2b: Figure
    figure_2c: Figure
    figure_2c_fixed: Figure
    figure_2d: Figure
    figure_3: Figure
    figure_4: Figure
    figure_4_fixed: Figure
    figure_5: Figure
    paper_teacher: PaperTeacher
    scores: dict[str, dict[str, Estimate]]
    quality: dict[str, dict[str, dict[str, Quality]]]
    rejection: dict[str, dict[str, dict[str, Rejection]]]
    rejection_curves: dict[str, Figure]
    rounds: dict[str, dict[str, Estimate]]
    rounds_curves: Figure
    correlation: Tree
    sparsity: Tree
    sensitivity: dict[str, dict[str, dict[str, Estimate]]]


FIGURES = (
    *("figure_2a", "figure_2b", "figure_2c", "figure_2c_fixed", "figure_2d"),
    *("figure_3", "figure_4", "figure_4_fixed", "figure_5"),
)
TREES = (
    *("passing", "student", "speed", "averaging", "distribution", "table_1", "paper_teacher"),
    *("rejection", "rounds", "correlation", "sparsity", "sensitivity"),
)


def make_report(results: Results, about: About, tasks: TaskSet, plan: Plan) -> Report:
    """Make the report of the results so far."""
    scoring = results.tree("scoring")
    found = results.tree("error_finding")
    figures = {name: results.curves(name) for name in FIGURES}
    parts: dict[str, Any] = {
        "about": about,
        "bars": evaluate_bars(results, tasks, plan),
        "claims": evaluate_claims(results, tasks, plan),
        "error_finding": found.get("base", {}),
        "error_finding_settings": found,
        "table_1_daum_minus": _daum_minus(results),
        "table_2": _table_2(results),
        "scores": {
            setting: {
                name: each.pop("deals_vs_swag_points")
                for name, each in methods.items()
                if "deals_vs_swag_points" in each
            }
            for setting, methods in scoring.items()
        },
        "quality": scoring,
        "rejection_curves": {task: results.curves(f"rejection_{task}") for task in tasks.names},
        "rounds_curves": results.curves("rounds"),
        **{name: results.tree(name) for name in TREES},
        **figures,
    }
    return Report.model_validate(parts)


def _table_2(results: Results) -> Tree:
    tree = results.curve_tree("table_2")
    for kind, methods in results.tree("table_2").items():
        for method, experiments in methods.items():
            for experiment, gains in experiments.items():
                tree[kind][method][experiment] |= gains
    return tree


def _daum_minus(results: Results) -> Tree:
    """Table I as paired differences: DAUM minus every other model."""
    found: Tree = {}
    for model in results.names("table_1"):
        if model == "daum":
            continue
        for task in results.names(f"table_1.{model}"):
            for area in ("auc_roc", "auc_pr"):
                value = results.difference(
                    f"table_1.daum.{task}.{area}", f"table_1.{model}.{task}.{area}"
                )
                if value is not None:
                    found.setdefault(model, {}).setdefault(task, {})[area] = value
    return found
