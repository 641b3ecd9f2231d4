"""A unit of work: evaluates every uncertainty method in some settings under one seed."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from models.artifact.manifest import OWN
from trainer.evaluation.direct_passes import evaluate_direct_passes
from trainer.experiments import evaluation, measures
from trainer.experiments.data import Dataset, Float64Array, Source, World
from trainer.experiments.evaluation import Bench
from trainer.experiments.labs import bench_of, earlier_model, lab_of
from trainer.experiments.plan import Plan
from trainer.experiments.raw import Measured
from trainer.experiments.student import measure_students
from trainer.training.context import FitContext
from trainer.uncertainty import METHODS
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Estimator, Prediction
from trainer.uncertainty.shared_score import SharedScoreEstimator

SWAG = "swag"
TAUGHT = ("confirmed",)
"""Methods that are distilled into a student of their own, with SWAG's scores."""
BLEND = "blend"
Predictions = dict[str, Prediction]


@dataclass(frozen=True, slots=True)
class Fitted:
    """Every method, fitted on some rows.

    Attributes:
        train: Training rows.
        lab: Models that the methods share.
        estimators: Fitted methods by name; SWAG first, the blend of two scores last.
    """

    train: Dataset
    lab: Lab
    estimators: dict[str, Estimator]

    @classmethod
    def on(cls, train: Dataset, lab: Lab) -> Self:
        """Fit all methods."""
        estimators = {name: method(lab) for name, method in METHODS.items()}
        return cls(train, lab, estimators | {BLEND: lab.blend()})


def measure_settings(
    source: Source, plan: Plan, settings: tuple[str, ...], context: FitContext
) -> Measured:
    """Evaluate every method; settings with the same training rows share the fitted models."""
    earlier = earlier_model(source.layout, source.tasks, plan, context)
    measured = Measured()
    fitted: Fitted | None = None
    for setting in settings:
        world = source.world(setting, context.seed, plan.sizes, earlier, plan.rate)
        if fitted is None or world.train is not fitted.train:
            lab = lab_of(world.layout, world.train, world.tasks, plan, context)
            fitted = Fitted.on(world.train, lab)
        measured.merge(_measure_setting(world, fitted, plan, setting, context.seed))
    return measured


def _measure_setting(world: World, fitted: Fitted, plan: Plan, setting: str, seed: int) -> Measured:
    """Evaluate one setting; in ``base`` also Table II, Figure 2, the students and averaging."""
    lab, bench = fitted.lab, bench_of(world, plan, seed)
    measured = Measured()
    on_test: Predictions = {}
    on_valid: Predictions = {}
    for name, estimator in fitted.estimators.items():
        found, valid = estimator.predict(world.test.ids_NC), estimator.predict(world.valid.ids_NC)
        measured.merge(
            _all_figures(bench, name, setting, found, found.epistemic_NT.astype(np.float64))
        )
        on_test[name], on_valid[name] = found, valid
        if name == SWAG:
            measured.merge(_controls(bench, setting, found))
        measured.add(
            f"scoring.{setting}.{name}",
            {"deals_vs_swag_points": _lead(bench, found, on_test[SWAG])},
        )
    auto = _auto_points(bench, plan, world, on_test, on_valid)
    measured.add(f"passing.{setting}.auto", {"deals_vs_score_points": auto})
    if setting == "base":
        swag = on_test[SWAG]
        measured.merge(_paper(bench, plan, swag))
        measured.merge(_averaging(bench, lab, world, swag))
        others = {
            name: each.spread
            for name, each in fitted.estimators.items()
            if name in TAUGHT and isinstance(each, SharedScoreEstimator)
        }
        students, fidelity = measure_students(world, lab, bench, plan, swag, others)
        for name, student in students.items():
            u_NT = student.epistemic_NT.astype(np.float64)
            measured.merge(_all_figures(bench, name, setting, student, u_NT))
        measured.merge(fidelity)
    return measured


def _all_figures(
    bench: Bench, name: str, setting: str, found: Prediction, u_NT: Float64Array
) -> Measured:
    """Evaluate one method."""
    measured = Measured()
    measured.add(f"error_finding.{setting}.{name}", evaluation.error_finding(bench, found, u_NT))
    measured.add(f"passing.{setting}.{name}", evaluation.passing(bench, found, u_NT))
    measured.add(f"rejection.{setting}.{name}", evaluation.rejection(bench, found, u_NT))
    measured.add(f"scoring.{setting}.{name}", evaluation.quality(bench, found))
    if setting == "base":
        coverage = np.linspace(0.02, 1, evaluation.CURVE_POINTS)
        for task, risks in evaluation.rejection_curves(bench, found, u_NT).items():
            measured.draw(f"rejection_{task}.{name}", coverage, risks)
    return measured


def _controls(bench: Bench, setting: str, swag: Prediction) -> Measured:
    """Evaluate the controls on SWAG's scores: p (1 - p), base rate, random, and two oracles.

    ``oracle`` ranks by the true value, ``oracle_error`` by the true error.
    """
    measured = Measured()
    rankings = bench.controls(swag)
    errors_NT = bench.true_errors(swag)
    if errors_NT is not None:
        rankings["oracle_error"] = errors_NT
    rankings["oracle"] = np.repeat(bench.value_N[:, None], len(bench.tasks), axis=1)
    for name, u_NT in rankings.items():
        measured.add(f"passing.{setting}.{name}", evaluation.passing(bench, swag, u_NT))
        if name != "oracle":
            measured.add(
                f"error_finding.{setting}.{name}", evaluation.error_finding(bench, swag, u_NT)
            )
            measured.add(f"rejection.{setting}.{name}", evaluation.rejection(bench, swag, u_NT))
    return measured


def _lead(bench: Bench, found: Prediction, swag: Prediction) -> float:
    """Deals that a method's score keeps minus those that SWAG's mean keeps, in points."""
    kept = [
        measures.kept(measures.pass_fixed(score_N, score_N, bench.rate, 0.0), bench.value_N)
        for score_N in (bench.score(found), bench.score(swag))
    ]
    return 100 * (kept[0] - kept[1])


def _paper(bench: Bench, plan: Plan, swag: Prediction) -> Measured:
    """Table II and Figure 2 of the sweeps' teacher, with controls."""
    measured = Measured()
    controls = bench.controls(swag)
    ratios = {"balanced": plan.balanced_ratios, "sparse": plan.sparse_ratios}
    rankings = {SWAG: swag.epistemic_NT.astype(np.float64), **controls}
    for name in (SWAG, "bernoulli", "random"):
        table = evaluation.table_2(bench, swag, rankings[name], ratios)
        measured.merge(_under(f"table_2.{plan.teacher}.{name}", table))
    sources = {
        task: swag.epistemic_NT[:, column].astype(np.float64)
        for column, task in enumerate(bench.tasks.names)
    }
    sources["bernoulli"] = controls["bernoulli"][:, 0]
    sources["random"] = controls["random"][:, 0]
    sources["oracle"] = bench.value_N
    measured.merge(evaluation.figure_2(bench, bench.score(swag), sources, plan.ratios))
    return measured


def _averaging(bench: Bench, lab: Lab, world: World, swag: Prediction) -> Measured:
    """SWAG's mean against one net with a decayed learning rate."""
    single = lab.single().predict(world.test.ids_NC)
    averaged, alone = evaluation.quality(bench, swag), evaluation.quality(bench, single)
    measured = Measured()
    for task in bench.tasks.names:
        for area in ("auc_roc", "auc_pr"):
            key = f"{task}.{area}"
            gain = averaged[key] - alone[key]
            measured.add("averaging", {f"{task}_{area}_gain": gain})
    return measured


def _under(prefix: str, measured: Measured) -> Measured:
    """The same results with ``prefix`` before their keys."""
    return Measured(
        {f"{prefix}.{key}": value for key, value in measured.figures.items()},
        {f"{prefix}.{key}": points for key, points in measured.curves.items()},
    )


def _auto_points(
    bench: Bench, plan: Plan, world: World, on_test: Predictions, on_valid: Predictions
) -> float:
    """Gain of direct passes on the test rows, with method, source and share chosen on validation.

    The gain is over SWAG's mean alone, which is what an artifact serves; 0 if nothing pays.
    """
    weights = dict.fromkeys(world.tasks.names, 0.0) | {bench.value_task: 1.0}
    evidence = evaluate_direct_passes(
        on_valid[SWAG].mean_NT,
        {name: found.epistemic_NT for name, found in on_valid.items()},
        world.valid.labels_NT,
        world.tasks,
        rate=plan.rate,
        weights=weights,
    )
    if evidence is None or not evidence.direct_share:
        return 0.0
    source = bench.value_task if evidence.source == OWN else evidence.source
    u_NT = on_test[evidence.method].epistemic_NT.astype(np.float64)
    score_N, u_N = bench.score(on_test[SWAG]), u_NT[:, world.tasks.index(source)]
    with_u, alone = (
        measures.kept(measures.pass_fixed(score_N, u_N, plan.rate, share), bench.value_N)
        for share in (evidence.direct_share, 0.0)
    )
    return 100 * (with_u - alone)
