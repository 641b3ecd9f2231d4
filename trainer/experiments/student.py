"""The student compared with the ceiling that the teacher's sampling sets, and Figures 3 to 5.

Two independent sets of M weight samples agree only partly on which requests are uncertain, and one
pair may agree twice as well as another. So several sets are drawn, and the student's mean agreement
with them is compared with the mean agreement of their pairs, the ceiling. A student that learned
from many sets can exceed it, because it learned what they have in common.
"""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from models.nets.export import check_agreement, export_student
from trainer.evaluation.metrics import spearman
from trainer.experiments import evaluation, measures
from trainer.experiments.data import Float64Array, World
from trainer.experiments.evaluation import Bench
from trainer.experiments.plan import Plan
from trainer.experiments.raw import Measured
from trainer.training.config import StudentTraining
from trainer.training.distillation import fit_student, sets_per_row
from trainer.training.loop import deterministic
from trainer.training.soft_labels import label_rows
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Ids, Prediction
from trainer.uncertainty.sampled import SampledEstimator
from trainer.uncertainty.shared_score import Spread

BINS = 40
"""Bins of Figure 5's histograms."""
FRESH_SETS = 5
"""Sets of weight samples that no student learned from."""


def measure_students(
    world: World,
    lab: Lab,
    bench: Bench,
    plan: Plan,
    teacher: Prediction,
    others: Mapping[str, Spread],
) -> tuple[dict[str, Prediction], Measured]:
    """Distil the lab's SWAG teacher and evaluate the student; also distil other uncertainties.

    Args:
        world: Training, unlabelled and test rows.
        lab: Lab with the teacher.
        bench: Test rows and policy.
        plan: Schedule of the distillation.
        teacher: The teacher's prediction of the test rows.
        others: Other uncertainties of the teacher's score, each for a student of its own.

    Returns:
        Predictions of the test rows by the exported students, ``student`` and one
        ``student_NAME`` per other method; and the evaluation of the first one.
    """
    ids_NC = np.concatenate([world.train.ids_NC, world.unlabelled_NC])
    taught = _labelled(lab, ids_NC, plan.config.distillation)
    _, predict = distil(lab, ids_NC, taught, plan, plan.config.distillation)
    student = predict(world.test.ids_NC)
    train_u_NT = (
        taught.epistemic_NT[: len(world.train)].astype(np.float64),
        predict(world.train.ids_NC).epistemic_NT.astype(np.float64),
    )
    students = {"student": student}
    for name, spread in others.items():
        also = Prediction.of(taught.mean_NT, spread(ids_NC, taught.mean_NT))
        _, predict = distil(lab, ids_NC, also, plan, plan.config.distillation)
        students[f"student_{name}"] = predict(world.test.ids_NC)
    measured = Measured()
    measured.merge(_fidelity(bench, student, teacher, _fresh_sets(world, lab, plan)))
    measured.merge(_figures_3_and_4(bench, plan, student))
    measured.merge(_figure_5(student, teacher, train_u_NT))
    return students, measured


def distil(
    lab: Lab, ids_NC: Ids, taught: Prediction, plan: Plan, training: StudentTraining
) -> tuple[bytes, Callable[[Ids], Prediction]]:
    """Distil ``taught`` into a student: its ONNX file, and the function that predicts with it."""
    with deterministic(torch.get_num_threads(), lab.seed_of("student")):
        student = fit_student(
            lab.layout,
            torch.from_numpy(ids_NC),
            torch.from_numpy(taught.mean_NT),
            torch.from_numpy(taught.epistemic_NT),
            sizes=plan.config.student,
            training=training,
            context=lab.context,
        )
    model = export_student(student)

    def predict(rows_NC: Ids) -> Prediction:
        _, mean_NT, u_NT = check_agreement(student, model, rows_NC)
        return Prediction(mean_NT, u_NT, np.sqrt(mean_NT * (1 - mean_NT)))

    return model, predict


def _labelled(lab: Lab, ids_NC: Ids, training: StudentTraining) -> Prediction:
    """Soft labels of the student, from sets of samples in turn, as in training."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels"
        rows = torch.from_numpy(ids_NC)
        labels = label_rows(
            lab.teacher(),
            rows,
            lab.tasks,
            path,
            sets=sets_per_row(len(rows), training),
            context=lab.context,
        )
        mean_NT, std_NT = (each_NT.numpy().copy() for each_NT in labels)
    return Prediction.of(mean_NT, std_NT)


def _fresh_sets(world: World, lab: Lab, plan: Plan) -> list[Float64Array]:
    """Uncertainties of the test rows by sets of samples that no student learned from."""
    teacher, count = lab.teacher(), plan.config.teacher.samples
    samples = (
        teacher.posterior.sample(count, lab.seed_of("fresh samples", number))
        for number in range(1, FRESH_SETS + 1)
    )
    found = (SampledEstimator(teacher.net, each).predict(world.test.ids_NC) for each in samples)
    return [prediction.epistemic_NT.astype(np.float64) for prediction in found]


def _fidelity(
    bench: Bench, student: Prediction, teacher: Prediction, fresh: Sequence[Float64Array]
) -> Measured:
    targets_NT = bench.part.targets(bench.tasks).astype(np.float64)
    measured = Measured()
    for column, task in enumerate(bench.tasks.names):
        roc_t, roc_s = (
            measures.auc(each.mean_NT[:, column].astype(np.float64), targets_NT[:, column]).roc
            for each in (teacher, student)
        )
        u_N = student.epistemic_NT[:, column].astype(np.float64)
        p_N = student.mean_NT[:, column].astype(np.float64)
        sets = [each_NT[:, column] for each_NT in fresh]
        rank = measures.agreement(spearman, u_N, sets)
        tail = measures.agreement(measures.overlap, u_N, sets)
        own = measures.agreement(measures.overlap, p_N * (1 - p_N), sets)
        measured.add(
            f"student.{task}",
            {
                "auc_drop": roc_t - roc_s,
                "spearman": rank.value,
                "spearman_ceiling": rank.ceiling,
                "spearman_of_ceiling": rank.of_ceiling,
                "tail_overlap": tail.value,
                "tail_overlap_ceiling": tail.ceiling,
                "tail_overlap_ceiling_low": tail.low,
                "tail_overlap_ceiling_high": tail.high,
                "tail_overlap_of_ceiling": tail.of_ceiling,
                "tail_overlap_bernoulli": own.value,
                "tail_overlap_gain": tail.value - own.value,
            },
        )
    return measured


def _figures_3_and_4(bench: Bench, plan: Plan, student: Prediction) -> Measured:
    """Residual areas of the student's first task, and deals passed by its uncertainties."""
    measured = Measured()
    u_NT = student.epistemic_NT.astype(np.float64)
    controls = bench.controls(student)
    first = bench.tasks.names[0]
    labels_N = bench.part.targets(bench.tasks)[:, 0].astype(np.float64)
    p_N = student.mean_NT[:, 0].astype(np.float64)
    for name, by_N in (("student", u_NT[:, 0]), ("bernoulli", controls["bernoulli"][:, 0])):
        areas = [measures.residual(p_N, labels_N, by_N, ratio) for ratio in plan.ratios]
        measured.draw(f"figure_3.{first}_auc_roc_{name}", plan.ratios, [a.roc for a in areas])
        measured.draw(f"figure_3.{first}_auc_pr_{name}", plan.ratios, [a.pr for a in areas])
    sources = {task: u_NT[:, column] for column, task in enumerate(bench.tasks.names)}
    sources["random"] = controls["random"][:, 0]
    drawn = evaluation.figure_2(bench, bench.score(student), sources, plan.ratios)
    for key, (x, y) in drawn.curves.items():
        if key.startswith("figure_2c"):
            measured.draw(key.replace("figure_2c", "figure_4", 1), x, y)
    return measured


def _figure_5(
    student: Prediction, teacher: Prediction, train_u: tuple[Float64Array, Float64Array]
) -> Measured:
    """Histograms of the first task's u, and their Kolmogorov-Smirnov distances."""
    measured = Measured()
    test = [each.epistemic_NT[:, 0].astype(np.float64) for each in (teacher, student)]
    train = (train_u[0][:, 0], train_u[1][:, 0])
    top = float(np.quantile(test[0], 0.995))
    edges_E = np.linspace(0, max(top, measures.TINY), BINS + 1)
    drawn = {"teacher_test": test[0], "student_test": test[1]}
    drawn |= {"teacher_train": train[0], "student_train": train[1]}
    for name, u_N in drawn.items():
        share_B = np.histogram(u_N, edges_E)[0] / len(u_N)
        measured.draw(f"figure_5.{name}", edges_E[:-1] / edges_E[-1], share_B)
    measured.add("distribution", {"ks": measures.distance(*test)})
    tail = [u_N[u_N >= np.quantile(u_N, 0.9)] for u_N in test]
    measured.add("distribution", {"tail_ks": measures.distance(*tail)})
    return measured
