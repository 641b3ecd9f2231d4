"""The paper's claims, and the figures that each of them rests on (see ``checks.py``).

The first task of the funnel is the balanced one (click in the paper), the last the sparse (deal).
"""

from collections.abc import Callable
from dataclasses import dataclass

from models.tasks import TaskSet
from trainer.experiments.plan import PAPER, Plan
from trainer.experiments.report.checks import Check, Claim, negated, shifted, verdict_of
from trainer.experiments.report.results import Results
from trainer.experiments.report.stats import Estimate


@dataclass(frozen=True, slots=True)
class On:
    """Evidence for the claims: figures, names of the balanced and the sparse task, and plan."""

    results: Results
    first: str
    last: str
    plan: Plan


def evaluate_claims(results: Results, tasks: TaskSet, plan: Plan) -> list[Claim]:
    """Evaluate all claims."""
    on = On(results, tasks.names[0], tasks.names[-1], plan)
    makers: tuple[Callable[[On], Claim], ...] = (
        _averaging,
        _multi_objective,
        _click_residual,
        _deal_residual,
        _shared_residual,
        _growing,
        _fixed,
        _sparse_fails,
        _balanced_finds_errors,
        _correlation,
        _accuracy_kept,
        _speed,
        _tail_kept,
        _indirect_kept,
    )
    return [make(on) for make in makers]


def _claim(name: str, text: str, checks: list[Check]) -> Claim:
    return Claim(name=name, claim=text, verdict=verdict_of(checks), evidence=checks)


def _lead(on: On, model: str, other: str, paper: dict[str, float | None]) -> list[Check]:
    """Checks that a model of Table I exceeds another; ``paper`` has the paper's lead by area."""
    return [
        Check(
            figure=f"average {area} over the tasks, {model} minus {other}",
            value=on.results.difference(
                f"table_1.{model}.average.{area}", f"table_1.{other}.average.{area}"
            ),
            paper=reported,
        )
        for area, reported in paper.items()
    ]


def _averaging(on: On) -> Claim:
    checks = [
        *_lead(on, "daum", PAPER, {"auc_roc": 0.0010, "auc_pr": 0.0006}),
        *_lead(on, "ple-mlp-swag", "ple-mlp", {"auc_roc": None, "auc_pr": None}),
    ]
    checks.append(
        Check(
            figure=f"{on.first} auc_pr, SWAG's mean minus a single net (sweeps)",
            value=on.results.figure(f"averaging.{on.first}_auc_pr_gain"),
            paper=0.0003,
        )
    )
    return _claim(
        "averaging", "The mean of SWAG's samples predicts better than one net (Table I).", checks
    )


def _multi_objective(on: On) -> Claim:
    checks = [
        *_lead(on, "ple-mlp", "mlp", {"auc_roc": 0.0035, "auc_pr": 0.0011}),
        *_lead(on, PAPER, "transformer", {"auc_roc": 0.0023, "auc_pr": 0.0016}),
    ]
    return _claim(
        "experts", "Gated experts (PLE) predict better than one shared net (Table I).", checks
    )


def _residual(on: On, experiment: str, paper: float, sign: float = 1.0) -> list[Check]:
    checks = []
    for kind in dict.fromkeys((on.plan.teacher, PAPER)):
        value = on.results.figure(f"table_2.{kind}.swag.{experiment}.auc_roc_gain")
        checks.append(
            Check(
                figure=f"residual auc_roc at the largest ratio minus at 0 ({kind})"
                + (", negated" if sign < 0 else ""),
                value=value if value is None or sign > 0 else negated(value),
                paper=paper,
            )
        )
    return checks


def _click_residual(on: On) -> Claim:
    checks = _residual(on, f"{on.first}_by_{on.first}", 0.0193)
    return _claim(
        "residual_balanced",
        f"Passing by {on.first}'s own u raises {on.first}'s AUC on the rest (Table II).",
        checks,
    )


def _deal_residual(on: On) -> Claim:
    checks = _residual(on, f"{on.last}_by_{on.last}", 0.0072, -1.0)
    return _claim(
        "residual_sparse",
        f"Passing by {on.last}'s own u lowers {on.last}'s AUC on the rest (Table II).",
        checks,
    )


def _shared_residual(on: On) -> Claim:
    checks = _residual(on, f"{on.last}_by_{on.first}", 0.0010)
    checks += [
        Check(
            figure=f"the same gain minus that of {on.last}'s own u ({kind})",
            value=on.results.difference(
                f"table_2.{kind}.swag.{on.last}_by_{on.first}.auc_roc_gain",
                f"table_2.{kind}.swag.{on.last}_by_{on.last}.auc_roc_gain",
            ),
            paper=0.0082,
        )
        for kind in dict.fromkeys((on.plan.teacher, PAPER))
    ]
    return _claim(
        "residual_shared",
        f"Passing by {on.first}'s u helps {on.last}'s AUC on the rest (Table II).",
        checks,
    )


def _points(on: On, source: str, way: str, other: str | None = None) -> Estimate | None:
    key = f"passing.base.swag.by_source.{source}.{way}_points"
    if other is None:
        return on.results.figure(key)
    return on.results.difference(key, f"passing.base.swag.by_source.{other}.{way}_points")


def _growing(on: On) -> Claim:
    checks = [
        Check(
            figure=f"points of all {on.last}s over score alone, budget grows by direct passes",
            value=_points(on, on.first, "growing"),
        ),
        Check(
            figure=f"the same minus that of {on.last}'s own u",
            value=_points(on, on.first, "growing", on.last),
        ),
    ]
    return _claim(
        "growing_budget",
        f"More {on.last}s pass as the ratio of direct passes by {on.first}'s u grows (Figure 2c).",
        checks,
    )


def _fixed(on: On) -> Claim:
    checks = [
        Check(
            figure=f"points of all {on.last}s over score alone, direct passes inside the budget",
            value=_points(on, on.first, "fixed"),
        ),
        Check(
            figure="the same minus direct passes at random",
            value=on.results.difference(
                f"passing.base.swag.by_source.{on.first}.fixed_points",
                f"passing.base.random.by_source.{on.first}.fixed_points",
            ),
        ),
    ]
    return _claim(
        "fixed_budget",
        f"Direct passes by {on.first}'s u gain {on.last}s at an equal budget: what Figure 2c must "
        "mean where the intercepted share r is a promise.",
        checks,
    )


def _sparse_fails(on: On) -> Claim:
    gain = _points(on, on.last, "growing")
    check = Check(
        figure=f"0.5 minus points of all {on.last}s over score alone, by its own u, growing",
        value=None if gain is None else shifted(negated(gain), 0.5),
    )
    return _claim(
        "sparse_uncertainty",
        f"Passing by {on.last}'s own u leaves the {on.last}s that pass nearly as many (Figure 2c).",
        [check],
    )


def _balanced_finds_errors(on: On) -> Claim:
    key = f"error_finding.base.swag.{on.first}"
    checks = [
        Check(
            figure="rank correlation with the true error within bins of p, minus p(1-p)'s",
            value=on.results.figure(f"{key}.within_bins.gain"),
        ),
        Check(
            figure="AUROC of the worst tenth, minus p(1-p)'s",
            value=on.results.figure(f"{key}.worst_tenth_auroc.gain"),
        ),
    ]
    return _claim(
        "accurate_uncertainty",
        f"{on.first}'s u shows where the model is wrong, beyond what the probability shows "
        "(sections III-B, IV-C).",
        checks,
    )


def _correlation(on: On) -> Claim:
    levels = on.plan.shared[0], on.plan.shared[-1]
    weak, strong = (f"{level:g}".replace(".", "_") for level in levels)
    check = Check(
        figure=f"points of all {on.last}s over score alone, strongly minus weakly correlated tasks",
        value=on.results.difference(
            f"correlation.{strong}.swag.deals_vs_score_points",
            f"correlation.{weak}.swag.deals_vs_score_points",
        ),
    )
    return _claim(
        "correlation",
        "Sharing uncertainty works the better the stronger tasks correlate (section III-D).",
        [check],
    )


def _accuracy_kept(on: On) -> Claim:
    checks = []
    for task in on.results.names("student"):
        drop = on.results.figure(f"student.{task}.auc_drop")
        checks.append(
            Check(
                figure=f"student's AUC-ROC minus the teacher's, {task}",
                value=None if drop is None else negated(drop),
                bar=-0.002,
            )
        )
    return _claim(
        "distilled_accuracy", "The distilled model keeps accuracy (section IV-D).", checks
    )


def _speed(on: On) -> Claim:
    kinds = ("ple_mlp", "ple_transformer")
    checks = [
        Check(
            figure=f"cost of {on.plan.config.teacher.samples} samples over the student's ({kind})",
            value=on.results.figure(f"speed.teacher_over_student.{kind}"),
            bar=10.0,
        )
        for kind in kinds
    ]
    return _claim(
        "distilled_speed", "The distilled model is about ten times as fast (section IV-D).", checks
    )


def _tail_kept(on: On) -> Claim:
    checks = [
        Check(
            figure="overlap of the most uncertain tenth, as a share of what two sets reach",
            value=on.results.figure(f"student.{on.first}.tail_overlap_of_ceiling"),
            bar=0.85,
        ),
        Check(
            figure="that overlap minus the one of the student's p(1-p)",
            value=on.results.figure(f"student.{on.first}.tail_overlap_gain"),
        ),
    ]
    return _claim(
        "distilled_tail",
        "The student's uncertainties are the teacher's, above all the large ones (Figure 5).",
        checks,
    )


def _indirect_kept(on: On) -> Claim:
    key = f"by_source.{on.first}.growing_points"
    difference = on.results.difference(f"passing.base.student.{key}", f"passing.base.swag.{key}")
    check = Check(
        figure=f"points of {on.last}s by the student's u minus by the teacher's, growing budget",
        value=difference,
        bar=-0.5,
    )
    return _claim(
        "distilled_passing", "The student passes deals as the teacher does (Figure 4).", [check]
    )
