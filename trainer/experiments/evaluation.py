"""Evaluates the predictions of one method on one set of test rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.tasks import TaskSet
from trainer.evaluation.metrics import calibration_error, spearman
from trainer.experiments import measures
from trainer.experiments.data import Dataset, Float64Array, Mask
from trainer.experiments.raw import Measured
from trainer.uncertainty.controls import CONTROLS
from trainer.uncertainty.method import Prediction

KAPPA = 0.5
"""Weight of u in t = s + kappa u, the optimistic h."""
CURVE_POINTS = 50


@dataclass(frozen=True, slots=True)
class Bench:
    """Test rows, and the policy under which methods are evaluated.

    Attributes:
        tasks: Tasks that are predicted.
        part: Test rows.
        rates_T: Base rate per task in training.
        rate: Intercepted share.
        share: Direct passes, as a share of all requests.
        seed: Seed of the random control.
    """

    tasks: TaskSet
    part: Dataset
    rates_T: Float64Array
    rate: float
    share: float
    seed: int

    @property
    def value_task(self) -> str:
        """Task with the events to keep: the last of the funnel, as deals in the paper."""
        return self.tasks.names[-1]

    @property
    def value_N(self) -> Float64Array:
        """Value of every request."""
        return self.part.value(self.tasks, self.value_task)

    def score(self, prediction: Prediction) -> Float64Array:
        """Score of the value task on all requests."""
        over_all_NT = self.tasks.on_all_requests(prediction.mean_NT)
        return over_all_NT[:, self.tasks.index(self.value_task)].astype(np.float64)

    def controls(self, prediction: Prediction) -> dict[str, Float64Array]:
        """Baseline rankings, each (N, T)."""
        rates_T = self.rates_T.astype(np.float32)
        return {
            name: control(prediction.mean_NT, rates_T, self.seed).astype(np.float64)
            for name, control in CONTROLS.items()
        }

    def true_errors(self, prediction: Prediction) -> Float64Array | None:
        """|p - p_true| (N, T); None if the true probabilities are unknown."""
        if self.part.p_true_NT is None:
            return None
        return np.abs(prediction.mean_NT.astype(np.float64) - self.part.p_true_NT)


def error_finding(bench: Bench, prediction: Prediction, u_NT: Float64Array) -> dict[str, float]:
    """How well u finds the prediction's own errors, per task, compared with p (1 - p)."""
    errors_NT = bench.true_errors(prediction)
    if errors_NT is None:
        return {}
    bernoulli_NT = bench.controls(prediction)["bernoulli"]
    poor_N = bench.part.poor_N
    found: dict[str, float] = {}
    for column, task in enumerate(bench.tasks.names):
        error_N = errors_NT[:, column]
        p_N = prediction.mean_NT[:, column].astype(np.float64)
        values, controls = (
            _finds(each_NT[:, column], error_N, p_N, poor_N) for each_NT in (u_NT, bernoulli_NT)
        )
        for name, value in values.items():
            found |= {
                f"{task}.{name}.value": value,
                f"{task}.{name}.bernoulli": controls[name],
                f"{task}.{name}.gain": value - controls[name],
            }
        found[f"{task}.true_poor_ratio"] = measures.poor_ratio(error_N, poor_N)
    return found


def _finds(
    u_N: Float64Array, error_N: Float64Array, p_N: Float64Array, poor_N: Mask
) -> dict[str, float]:
    return {
        "spearman": spearman(u_N, error_N),
        "within_bins": measures.within_bins(u_N, error_N, p_N),
        "worst_tenth_auroc": measures.worst_auroc(u_N, error_N),
        "poor_ratio": measures.poor_ratio(u_N, poor_N),
    }


def passing(bench: Bench, prediction: Prediction, u_NT: Float64Array) -> dict[str, float]:
    """Gain in deals of direct passes by each task's u, in points of all deals.

    ``deals_vs_score_points`` is the paper's choice of source, the first task's u (click).
    """
    value_N, score_N = bench.value_N, bench.score(prediction)
    alone = measures.kept(measures.pass_fixed(score_N, score_N, bench.rate, 0.0), value_N)
    found = {"kept_by_score": alone}
    for column, source in enumerate(bench.tasks.names):
        u_N = u_NT[:, column]
        fixed = measures.pass_fixed(score_N, u_N, bench.rate, bench.share)
        growing = measures.pass_growing(score_N, u_N, bench.rate, bench.share)
        found[f"by_source.{source}.fixed_points"] = 100 * (measures.kept(fixed, value_N) - alone)
        found[f"by_source.{source}.growing_points"] = 100 * (
            measures.kept(growing, value_N) - alone
        )
        found[f"by_source.{source}.passed_share"] = float(
            (growing.direct_N | growing.scored_N).mean()
        )
    first = bench.tasks.names[0]
    found["deals_vs_score_points"] = found[f"by_source.{first}.fixed_points"]
    own_N = score_N + KAPPA * u_NT[:, bench.tasks.index(bench.value_task)]
    optimistic = measures.pass_fixed(own_N, own_N, bench.rate, 0.0)
    found["optimistic_points"] = 100 * (measures.kept(optimistic, value_N) - alone)
    return found


def rejection(bench: Bench, prediction: Prediction, u_NT: Float64Array) -> dict[str, float]:
    """Rejection by u, per task, with the labels' log-loss and the true squared error as risk."""
    targets_NT = bench.part.targets(bench.tasks).astype(np.float64)
    errors_NT = bench.true_errors(prediction)
    found: dict[str, float] = {}
    for column, task in enumerate(bench.tasks.names):
        known_N = ~np.isnan(targets_NT[:, column])
        p_N = prediction.mean_NT[:, column].astype(np.float64)
        loss_N = measures.log_loss_of(p_N[known_N], targets_NT[known_N, column])
        u_N = u_NT[:, column]
        found[f"{task}.aurc"] = measures.aurc(u_N[known_N], loss_N)
        found[f"{task}.rejection_ratio"] = measures.rejection_ratio(u_N[known_N], loss_N)
        if errors_NT is not None:
            risk_N = errors_NT[:, column] ** 2
            found[f"{task}.true_aurc"] = measures.aurc(u_N, risk_N)
            found[f"{task}.true_rejection_ratio"] = measures.rejection_ratio(u_N, risk_N)
    return found


def rejection_curves(
    bench: Bench, prediction: Prediction, u_NT: Float64Array
) -> dict[str, Float64Array]:
    """Per task the mean true squared error, or log-loss, of the most trusted share."""
    errors_NT = bench.true_errors(prediction)
    targets_NT = bench.part.targets(bench.tasks).astype(np.float64)
    curves = {}
    for column, task in enumerate(bench.tasks.names):
        known_N = ~np.isnan(targets_NT[:, column])
        p_N = prediction.mean_NT[:, column].astype(np.float64)
        if errors_NT is None:
            risk_N = measures.log_loss_of(p_N[known_N], targets_NT[known_N, column])
            u_N = u_NT[known_N, column]
        else:
            risk_N, u_N = errors_NT[:, column] ** 2, u_NT[:, column]
        curve_N = measures.rejection_curve(u_N, risk_N)
        at_K = np.linspace(1, len(curve_N), CURVE_POINTS).astype(int) - 1
        curves[task] = curve_N[at_K]
    return curves


def quality(bench: Bench, prediction: Prediction) -> dict[str, float]:
    """AUC-ROC, AUC-PR, calibration and mean true error of the scores, per task."""
    targets_NT = bench.part.targets(bench.tasks).astype(np.float64)
    errors_NT = bench.true_errors(prediction)
    found: dict[str, float] = {}
    for column, task in enumerate(bench.tasks.names):
        known_N = ~np.isnan(targets_NT[:, column])
        p_N = prediction.mean_NT[known_N, column].astype(np.float64)
        labels_N = targets_NT[known_N, column]
        areas = measures.auc(p_N, labels_N)
        found |= {
            f"{task}.auc_roc": areas.roc,
            f"{task}.auc_pr": areas.pr,
            f"{task}.log_loss": float(measures.log_loss_of(p_N, labels_N).mean()),
            f"{task}.ece": calibration_error(p_N, labels_N.astype(np.int64)),
        }
        if errors_NT is not None:
            found[f"{task}.true_error"] = float(errors_NT[:, column].mean())
    return found


def table_2(
    bench: Bench, prediction: Prediction, u_NT: Float64Array, ratios: Mapping[str, Sequence[float]]
) -> Measured:
    """Areas on the requests that remain after direct passes by uncertainty (Table II).

    Args:
        bench: Test rows and policy.
        prediction: Scores of the test rows.
        u_NT: Uncertainties by which requests pass directly.
        ratios: Passing ratios, ``balanced`` for the first task and ``sparse`` for the value task.
    """
    first, last = bench.tasks.names[0], bench.value_task
    targets_NT = bench.part.targets(bench.tasks).astype(np.float64)
    measured = Measured()
    for experiment, target, source, grid in (
        (f"{first}_by_{first}", first, first, ratios["balanced"]),
        (f"{last}_by_{last}", last, last, ratios["sparse"]),
        (f"{last}_by_{first}", last, first, ratios["sparse"]),
    ):
        column = bench.tasks.index(target)
        p_N = prediction.mean_NT[:, column].astype(np.float64)
        u_N = u_NT[:, bench.tasks.index(source)]
        areas = [measures.residual(p_N, targets_NT[:, column], u_N, ratio) for ratio in grid]
        measured.draw(f"{experiment}.auc_roc", grid, [each.roc for each in areas])
        measured.draw(f"{experiment}.auc_pr", grid, [each.pr for each in areas])
        measured.add(
            experiment,
            {
                "auc_roc_gain": areas[-1].roc - areas[0].roc,
                "auc_pr_gain": areas[-1].pr - areas[0].pr,
            },
        )
    return measured


def figure_2(
    bench: Bench,
    score_N: Float64Array,
    rankings: Mapping[str, Float64Array],
    ratios: Sequence[float],
) -> Measured:
    """Deals passed directly, among the rest, and together (Figures 2a to 2d), per ranking.

    All are shares of all deals, but 2d is a share of the remaining deals. ``figure_2c_fixed`` is 2c
    with direct passes inside the budget.
    """
    value_N = bench.value_N
    total = max(float(value_N.sum()), measures.TINY)
    measured = Measured()
    for name, u_N in rankings.items():
        growing = [measures.pass_growing(score_N, u_N, bench.rate, share) for share in ratios]
        fixed = [measures.pass_fixed(score_N, u_N, bench.rate, share) for share in ratios]
        direct = [float(value_N[each.direct_N].sum() / total) for each in growing]
        rest = [float(value_N[each.scored_N].sum() / total) for each in growing]
        measured.draw(f"figure_2a.{name}", ratios, direct)
        measured.draw(f"figure_2b.{name}", ratios, rest)
        measured.draw(f"figure_2c.{name}", ratios, np.add(direct, rest))
        measured.draw(
            f"figure_2c_fixed.{name}", ratios, [measures.kept(each, value_N) for each in fixed]
        )
        measured.draw(
            f"figure_2d.{name}",
            ratios,
            [
                measures.deals_by_direct_deals(score_N, u_N, value_N, bench.rate, share)
                for share in ratios
            ],
        )
    return measured
