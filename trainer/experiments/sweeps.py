"""Further units of work: Table I, speed, the funnel's shape, and the parameters of SWAG."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import onnxruntime as ort

from trainer.evaluation.metrics import spearman
from trainer.experiments import evaluation
from trainer.experiments.data import Source, World
from trainer.experiments.evaluation import Bench
from trainer.experiments.labs import bench_of, earlier_model, lab_of
from trainer.experiments.plan import PAPER, Plan
from trainer.experiments.raw import Measured
from trainer.experiments.student import distil
from trainer.training.context import FitContext
from trainer.uncertainty import METHODS
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Ids, Prediction
from trainer.uncertainty.sampled import SampledEstimator

BATCH = 512
"""Requests per timed pass, as in the worker and in the paper."""
TURN_S = 0.05
"""Least duration in seconds of a turn of timed passes."""
SHAPE_METHODS = ("swag", "confirmed")


def measure_teacher(source: Source, plan: Plan, teacher: str, context: FitContext) -> Measured:
    """Measure a column of Table I; for the paper's also DAUM (SWAG's mean) and Table II."""
    world = base_world(source, plan, context, plan.kind_rows)
    lab = lab_of(world.layout, world.train, world.tasks, plan, context, teacher=teacher)
    bench = bench_of(world, plan, context.seed)
    measured = Measured()
    single = lab.single().predict(world.test.ids_NC)
    measured.add(f"table_1.{teacher}", _areas(bench, single))
    if not teacher.startswith("ple"):
        return measured
    swag = METHODS["swag"](lab).predict(world.test.ids_NC)
    name = "daum" if teacher == PAPER else f"{teacher}-swag"
    measured.add(f"table_1.{name}", _areas(bench, swag))
    if teacher == PAPER:
        u_NT = swag.epistemic_NT.astype(np.float64)
        ratios = {"balanced": plan.balanced_ratios, "sparse": plan.sparse_ratios}
        found = evaluation.table_2(bench, swag, u_NT, ratios)
        measured.add(f"table_2.{teacher}.swag", found.figures)
        for key, points in found.curves.items():
            measured.draw(f"table_2.{teacher}.swag.{key}", *points)
        measured.add(f"paper_teacher.passing.{teacher}", evaluation.passing(bench, swag, u_NT))
        measured.add(
            f"paper_teacher.error_finding.{teacher}", evaluation.error_finding(bench, swag, u_NT)
        )
    return measured


def measure_shape(source: Source, plan: Plan, name: str, context: FitContext) -> Measured:
    """Measure the effect of the tasks' correlation and sparsity on uncertainty.

    Args:
        source: Simulated traffic of the shape.
        plan: Sizes and schedules.
        name: Name of the shape in the report.
        context: Seed of the world, and progress bars.
    """
    world = base_world(source, plan, context, plan.sweep_rows)
    lab = lab_of(world.layout, world.train, world.tasks, plan, context)
    bench = bench_of(world, plan, context.seed)
    first, last = 0, len(world.tasks) - 1
    measured = Measured()
    truth_NT = world.test.p_true_NT
    if truth_NT is not None:
        measured.add(name, {"truth_correlation": spearman(truth_NT[:, first], bench.value_N)})
    for method in SHAPE_METHODS:
        found = METHODS[method](lab).predict(world.test.ids_NC)
        u_NT = found.epistemic_NT.astype(np.float64)
        passing = evaluation.passing(bench, found, u_NT)
        errors = evaluation.error_finding(bench, found, u_NT)
        figures = {
            "uncertainty_correlation": spearman(u_NT[:, first], u_NT[:, last]),
            "deals_vs_score_points": passing["deals_vs_score_points"],
            "own_source_points": passing[f"by_source.{bench.value_task}.fixed_points"],
        }
        for task in (world.tasks.names[first], bench.value_task):
            for key in ("within_bins.value", "within_bins.gain"):
                figures[f"{task}.{key}"] = errors.get(f"{task}.{key}", float("nan"))
        measured.add(f"{name}.{method}", figures)
    return measured


def measure_sensitivity(source: Source, plan: Plan, context: FitContext) -> Measured:
    """Measure SWAG by its number of snapshots k, of samples M, and its covariance scale."""
    world = base_world(source, plan, context, plan.sweep_rows)
    bench = bench_of(world, plan, context.seed)
    training = plan.config.teacher
    measured = Measured()

    def lab_with(snapshots: int) -> Lab:
        changed = replace(training, snapshots=snapshots, rank=snapshots)
        return lab_of(world.layout, world.train, world.tasks, plan, context, training=changed)

    for snapshots in plan.snapshots:
        figures = _sensitivity(bench, lab_with(snapshots), training.samples, training.scale)
        measured.add(f"sensitivity.snapshots.{snapshots}", figures)
    lab = lab_with(training.snapshots)
    for samples in plan.samples:
        figures = _sensitivity(bench, lab, samples, training.scale)
        measured.add(f"sensitivity.samples.{samples}", figures)
    for scale in plan.scales:
        figures = _sensitivity(bench, lab, training.samples, scale)
        measured.add(f"sensitivity.scale.{scale:g}".replace("0.", "0_"), figures)
    return measured


def _sensitivity(bench: Bench, lab: Lab, samples: int, scale: float) -> dict[str, float]:
    teacher = lab.teacher()
    before, teacher.posterior.scale = teacher.posterior.scale, scale
    sets = [teacher.posterior.sample(samples, lab.seed_of("sensitivity", n)) for n in (0, 1)]
    teacher.posterior.scale = before
    found, other = (SampledEstimator(teacher.net, each).predict(bench.part.ids_NC) for each in sets)
    u_NT = found.epistemic_NT.astype(np.float64)
    errors = evaluation.error_finding(bench, found, u_NT)
    quality = evaluation.quality(bench, found)
    first, last = bench.tasks.names[0], bench.value_task
    return {
        "auc_pr": quality[f"{first}.auc_pr"],
        "mean_u": float(u_NT[:, 0].mean()),
        "ceiling": spearman(u_NT[:, 0], other.epistemic_NT[:, 0]),
        "within_bins": errors.get(f"{first}.within_bins.value", float("nan")),
        "within_bins_last": errors.get(f"{last}.within_bins.value", float("nan")),
        "deals_vs_score_points": evaluation.passing(bench, found, u_NT)["deals_vs_score_points"],
    }


def measure_speed(source: Source, plan: Plan, context: FitContext) -> Measured:
    """Measure microseconds per request of the student, and of M samples of two teachers.

    Weights do not change the time, so the nets are barely trained. The student runs in
    onnxruntime, the teachers in torch, all on one thread with 512 requests per pass. They take
    turns of ``TURN_S`` seconds, each after a pass that is not timed.
    """
    world = base_world(source, plan, context, plan.sizes.small)
    ids_NC = np.resize(world.test.ids_NC, (BATCH, world.layout.columns))
    few = world.train.take(np.arange(min(BATCH, len(world.train))))
    teachers = ("ple-mlp", PAPER)
    passes: dict[str, Callable[[], object]] = {}
    for teacher in teachers:
        lab = lab_of(world.layout, few, world.tasks, plan, context, teacher=teacher)
        estimator = METHODS["swag"](lab)
        passes[teacher] = partial(estimator.predict, ids_NC)
        barely = replace(plan.config.distillation, epochs=1, min_steps=1)
        model, _ = distil(lab, few.ids_NC, estimator.predict(few.ids_NC), plan, barely)
    passes["student"] = _onnx(model, ids_NC)
    times: dict[str, list[float]] = {name: [] for name in passes}
    for _ in range(plan.timing_rounds):
        for name, run in passes.items():
            times[name].append(_seconds(run))
    us = {name: 1e6 * float(np.median(each)) / BATCH for name, each in times.items()}
    measured = Measured()
    measured.add("speed", {f"{name.replace('-', '_')}_us": value for name, value in us.items()})
    for teacher in teachers:
        key = f"teacher_over_student.{teacher.replace('-', '_')}"
        measured.add("speed", {key: us[teacher] / us["student"]})
    return measured


def _onnx(model: bytes, ids_NC: Ids) -> Callable[[], object]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(["scores", "uncertainties"], {"ids": ids_NC})


def _seconds(run: Callable[[], object]) -> float:
    """Seconds per pass, the mean of a turn."""
    run()
    passes, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < TURN_S:
        run()
        passes += 1
    return spent / passes


def base_world(source: Source, plan: Plan, context: FitContext, rows: int) -> World:
    """The setting ``base`` with ``rows`` training rows and the sweeps' test rows."""
    fit = earlier_model(source.layout, source.tasks, plan, context)
    return source.world(
        "base", context.seed, replace(plan.sizes, train=rows, test=plan.sweep_test), fit, plan.rate
    )


def _areas(bench: Bench, prediction: Prediction) -> dict[str, float]:
    quality = evaluation.quality(bench, prediction)
    areas = {key: value for key, value in quality.items() if key.endswith(("auc_roc", "auc_pr"))}
    for area in ("auc_roc", "auc_pr"):
        values = [areas[f"{task}.{area}"] for task in bench.tasks.names]
        areas[f"average.{area}"] = float(np.mean(values))
    return areas
