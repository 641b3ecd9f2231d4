"""The manifest of a training: its configuration, its results, and their metrics."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from models.artifact.manifest import (
    SPEC_FILE,
    STUDENT_FILE,
    AutoEvidence,
    Manifest,
    Metrics,
    TrainingRange,
    sha256,
)
from models.artifact.onnxfile import OPSET
from models.features import FeatureSpec
from models.nets.scale import MeanScale, UncertaintyScale
from models.tasks import TaskSet
from trainer.evaluation.direct_passes import evaluate_direct_passes
from trainer.evaluation.metrics import (
    Selection,
    evaluate,
    evaluate_explored,
    evaluate_weighted,
    spearman,
    tail_overlap,
)
from trainer.training.config import AUTO, SWAG, TrainConfig
from trainer.training.row_range import RowRange
from trainer.training.rows import TrainingRows

Scores = npt.NDArray[np.float32]
ROWS: Final = 65_536
"""Rows that are counted at a time."""


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """Everything that an artifact depends on, besides its rows and the kind of machine.

    Attributes:
        spec: Feature spec of the examples.
        tasks: The tasks.
        config: Configuration of the training.
        seed: Seed of everything random.
    """

    spec: FeatureSpec
    tasks: TaskSet
    config: TrainConfig
    seed: int


@dataclass(frozen=True, slots=True)
class TrainedStudent:
    """A distilled and exported student, and the predictions of both models on the held-out rows.

    Attributes:
        model: Content of ``student.onnx``.
        agreement: Largest difference between torch and onnxruntime.
        scale: Scale between the student's uncertainty head and the teacher's uncertainties.
        teacher: Probabilities and uncertainties of the teacher, each (N, T).
        student: Probabilities and uncertainties of the exported student, each (N, T).
        methods: Comparison of the uncertainty methods under ``auto``, else None.
    """

    model: bytes
    agreement: float
    scale: UncertaintyScale
    teacher: tuple[Scores, Scores]
    student: tuple[Scores, Scores]
    methods: AutoEvidence | None


def build_manifest(
    job: TrainingJob, rows: TrainingRows, trained: TrainedStudent, created: datetime
) -> Manifest:
    """The manifest of all files but the card, which is rendered from the manifest."""
    names, config = job.tasks.names, job.config
    newest = datetime.fromtimestamp(rows.ts_max / 1000, UTC).strftime("%Y%m%dT%H%M%S")
    model_hash = sha256(trained.model)
    rates_T = _label_rates(rows.labelled_rows)
    return Manifest(
        version=f"{newest}-{model_hash[:8]}",
        created=created.astimezone(UTC).isoformat(timespec="seconds"),
        files={STUDENT_FILE: model_hash, SPEC_FILE: sha256(job.spec.text.encode())},
        spec_hash=job.spec.hash,
        opset=OPSET,
        tasks=tuple(job.tasks),
        label_rates=dict(zip(names, rates_T, strict=True)),
        training=TrainingRange(
            ts_min=rows.ts_min,
            ts_max=rows.ts_max,
            rows=rows.labelled,
            unlabelled_rows=rows.unlabelled,
            held_out_rows=rows.held_out,
        ),
        metrics=_metrics(trained, rows, job),
        uncertainty_target=config.distillation.target,
        rescaling=_rescaling(trained.scale, job.tasks),
        agreement=trained.agreement,
        auto=evaluate_direct_passes(
            trained.student[0],
            {_method(trained, config): trained.student[1]},
            rows.held_out_rows.labels_KT.numpy(),
            job.tasks,
            rate=config.auto_rate,
            weights=config.auto_weights,
        ),
        methods=trained.methods,
        config=config.to_dict(),
        seed=job.seed,
    )


def _method(trained: TrainedStudent, config: TrainConfig) -> str:
    """The method whose uncertainty the student learned."""
    if config.uncertainty != AUTO:
        return config.uncertainty
    return SWAG if trained.methods is None else trained.methods.method


def _rescaling(scale: UncertaintyScale, tasks: TaskSet) -> dict[str, float]:
    if not isinstance(scale, MeanScale):
        return {}
    return dict(zip(tasks.names, scale.factor_T.tolist(), strict=True))


def _label_rates(rows: RowRange) -> list[float]:
    """Share of positives per task in its population, among the requests that the rows represent."""
    totals_2T = torch.zeros(2, rows.targets_KT.shape[1], dtype=torch.float64)
    for start in range(0, len(rows), ROWS):
        part = rows.slice(start, start + ROWS)
        weights_B1 = part.weights_K.double().unsqueeze(1)
        totals_2T[0] += (weights_B1 * (part.targets_KT == 1)).sum(0)
        totals_2T[1] += (weights_B1 * ~part.targets_KT.isnan()).sum(0)
    rates_T: list[float] = (totals_2T[0] / totals_2T[1]).tolist()
    return rates_T


def selection_of(rows: TrainingRows, config: TrainConfig) -> Selection:
    """How the policy selected the held-out rows."""
    held_out = rows.held_out_rows
    propensities_N = rows.propensities_N[: len(held_out)].numpy()
    return Selection.of(held_out.weights_K.numpy(), propensities_N, config.propensity_clip)


def _metrics(trained: TrainedStudent, rows: TrainingRows, job: TrainingJob) -> Metrics:
    (teacher_NT, spread_NT), (student_NT, u_NT) = trained.teacher, trained.student
    targets_NT, tasks = rows.held_out_rows.targets_KT.numpy(), job.tasks
    columns = {name: (slice(None), column) for column, name in enumerate(tasks.names)}
    selection = selection_of(rows, job.config)
    return Metrics(
        teacher=evaluate(teacher_NT, targets_NT, tasks, selection.counts_N),
        student=evaluate(student_NT, targets_NT, tasks, selection.counts_N),
        uncertainty_spearman={
            name: spearman(u_NT[at], spread_NT[at]) for name, at in columns.items()
        },
        score_spearman={
            name: spearman(student_NT[at], teacher_NT[at]) for name, at in columns.items()
        },
        uncertainty_tail={
            name: tail_overlap(spread_NT[at], u_NT[at]) for name, at in columns.items()
        },
        weighted=evaluate_weighted(student_NT, targets_NT, tasks, selection),
        explored=evaluate_explored(student_NT, targets_NT, tasks, selection),
    )
