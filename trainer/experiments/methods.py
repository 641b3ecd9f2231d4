"""A unit of work: every uncertainty method, judged in some settings under one seed."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from models.artifact.manifest import OWN
from trainer.evaluation.direct_passes import evaluate_direct_passes
from trainer.experiments import judge, measures
from trainer.experiments.data import Floats, Part, Source, World
from trainer.experiments.judge import Bench
from trainer.experiments.labs import bench_of, earlier_model, lab_of
from trainer.experiments.plan import Plan
from trainer.experiments.raw import Measured
from trainer.experiments.student import judge_students
from trainer.training.context import FitContext
from trainer.uncertainty import METHODS
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Estimator, Prediction
from trainer.uncertainty.shared_score import SharedScoreEstimator

SWAG = "swag"
TAUGHT = ("confirmed",)
"""Methods with a student of their own, beside SWAG's: around the same scores."""
BLEND = "blend"
Predictions = dict[str, Prediction]


@dataclass(frozen=True, slots=True)
class Fitted:
    """Every method fitted on some rows.

    Attributes:
        train: The rows.
        lab: What the methods share.
        estimators: By name; SWAG first, the blend of two scores last.
    """

    train: Part
    lab: Lab
    estimators: dict[str, Estimator]

    @classmethod
    def on(cls, train: Part, lab: Lab) -> Self:
        """Fit all methods."""
        estimators = {name: method(lab) for name, method in METHODS.items()}
        return cls(train, lab, estimators | {BLEND: lab.blend()})


def judge_settings(
    source: Source, plan: Plan, settings: tuple[str, ...], context: FitContext
) -> Measured:
    """Every method in these settings; those that learn from the same rows share what is fitted."""
    earlier = earlier_model(source.layout, source.tasks, plan, context)
    measured = Measured()
    fitted: Fitted | None = None
    for setting in settings:
        world = source.world(setting, context.seed, plan.sizes, earlier, plan.rate)
        if fitted is None or world.train is not fitted.train:
            lab = lab_of(world.layout, world.train, world.tasks, plan, context)
            fitted = Fitted.on(world.train, lab)
        measured.merge(_judge_setting(world, fitted, plan, setting, context.seed))
    return measured


def _judge_setting(world: World, fitted: Fitted, plan: Plan, setting: str, seed: int) -> Measured:
    """One setting; in ``base`` the figures, the students and the averaging too."""
    lab, bench = fitted.lab, bench_of(world, plan, seed)
    measured = Measured()
    on_test: Predictions = {}
    on_valid: Predictions = {}
    for name, estimator in fitted.estimators.items():
        found, valid = estimator.predict(world.test.ids_NC), estimator.predict(world.valid.ids_NC)
        measured.merge(_judged(bench, name, setting, found, found.epistemic_NT.astype(np.float64)))
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
        students, fidelity = judge_students(world, lab, bench, plan, swag, others)
        for name, student in students.items():
            u_NT = student.epistemic_NT.astype(np.float64)
            measured.merge(_judged(bench, name, setting, student, u_NT))
        measured.merge(fidelity)
    return measured


def _judged(bench: Bench, name: str, setting: str, found: Prediction, u_NT: Floats) -> Measured:
    """All figures of one method."""
    measured = Measured()
    measured.add(f"error_finding.{setting}.{name}", judge.error_finding(bench, found, u_NT))
    measured.add(f"passing.{setting}.{name}", judge.passing(bench, found, u_NT))
    measured.add(f"rejection.{setting}.{name}", judge.rejection(bench, found, u_NT))
    measured.add(f"scoring.{setting}.{name}", judge.quality(bench, found))
    if setting == "base":
        coverage = np.linspace(0.02, 1, judge.CURVE_POINTS)
        for task, risks in judge.rejection_curves(bench, found, u_NT).items():
            measured.draw(f"rejection_{task}.{name}", coverage, risks)
    return measured


def _controls(bench: Bench, setting: str, swag: Prediction) -> Measured:
    """What needs no method, on SWAG's scores: p (1 - p), base rate, random, and two oracles.

    ``oracle`` ranks by the truth of what is to be kept, ``oracle_error`` by the true error.
    """
    measured = Measured()
    rankings = bench.controls(swag)
    errors_NT = bench.true_errors(swag)
    if errors_NT is not None:
        rankings["oracle_error"] = errors_NT
    rankings["oracle"] = np.repeat(bench.value_N[:, None], len(bench.tasks), axis=1)
    for name, u_NT in rankings.items():
        measured.add(f"passing.{setting}.{name}", judge.passing(bench, swag, u_NT))
        if name != "oracle":
            measured.add(f"error_finding.{setting}.{name}", judge.error_finding(bench, swag, u_NT))
            measured.add(f"rejection.{setting}.{name}", judge.rejection(bench, swag, u_NT))
    return measured


def _lead(bench: Bench, found: Prediction, swag: Prediction) -> float:
    """Deals that a method's score keeps more than SWAG's mean does, in points of all deals."""
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
        table = judge.table_2(bench, swag, rankings[name], ratios)
        measured.merge(_under(f"table_2.{plan.config.net.kind}.{name}", table))
    sources = {
        task: swag.epistemic_NT[:, column].astype(np.float64)
        for column, task in enumerate(bench.tasks.names)
    }
    sources["bernoulli"] = controls["bernoulli"][:, 0]
    sources["random"] = controls["random"][:, 0]
    sources["oracle"] = bench.value_N
    measured.merge(judge.figure_2(bench, bench.score(swag), sources, plan.ratios))
    return measured


def _averaging(bench: Bench, lab: Lab, world: World, swag: Prediction) -> Measured:
    """SWAG's mean against one net with a decayed learning rate."""
    single = lab.single().predict(world.test.ids_NC)
    averaged, alone = judge.quality(bench, swag), judge.quality(bench, single)
    measured = Measured()
    for task in bench.tasks.names:
        for area in ("auc_roc", "auc_pr"):
            key = f"{task}.{area}"
            gain = averaged[key] - alone[key]
            measured.add("averaging", {f"{task}_{area}_gain": gain})
    return measured


def _under(prefix: str, measured: Measured) -> Measured:
    """The same results under longer keys."""
    return Measured(
        {f"{prefix}.{key}": value for key, value in measured.figures.items()},
        {f"{prefix}.{key}": points for key, points in measured.curves.items()},
    )


def _auto_points(
    bench: Bench, plan: Plan, world: World, on_test: Predictions, on_valid: Predictions
) -> float:
    """What direct passes gain on the test rows when validation rows pick method, source and share.

    Over the score alone of SWAG's mean, which is what an artifact serves; 0 where nothing pays.
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
