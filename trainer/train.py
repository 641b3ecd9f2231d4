"""From examples to an artifact: teacher, SWAG, student, export, metrics, manifest, card.

The way through this file: read the examples, hold the newest slice out, fit the teacher on the
rest, label everything with it, distil the student, export and check it, judge both on the held-out
slice, write the folder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from models.artifact import write_artifact
from models.examples import ExampleError, Examples, read_examples
from models.features import FeatureSpec
from models.manifest import (
    CARD_FILE,
    SPEC_FILE,
    STUDENT_FILE,
    Manifest,
    Metrics,
    TrainingRange,
    sha256,
)
from models.nets.embedding import FeatureLayout
from models.nets.export import OPSET, check_agreement, export_student
from models.tasks import DEFAULT_TASKS, TaskSet
from trainer.auto import judge_direct_passes
from trainer.card import card_html
from trainer.config import TrainConfig
from trainer.distill import fit_student
from trainer.evaluate import evaluate, spearman
from trainer.fitting import deterministic
from trainer.teacher import fit_teacher

Scores = npt.NDArray[np.float32]
Paths = str | Path | Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class Split:
    """Rows by what they are for.

    Attributes:
        labelled: Training rows with at least one label.
        unlabelled_NC: Features of rows without any, for the student only.
        held_out: The newest rows with at least one label.
    """

    labelled: Examples
    unlabelled_NC: npt.NDArray[np.int32]
    held_out: Examples


@dataclass(frozen=True, slots=True)
class Trained:
    """A distilled student, exported, and what both models say about the held-out rows.

    Attributes:
        model: Content of ``student.onnx``.
        agreement: Largest difference between torch and onnxruntime.
        rescaling_T: Factor on the uncertainty targets.
        teacher: Probabilities and uncertainties of the teacher, each (N, T).
        student: The same of the exported student.
    """

    model: bytes
    agreement: float
    rescaling_T: Tensor
    teacher: tuple[Scores, Scores]
    student: tuple[Scores, Scores]


def split_by_time(examples: Examples, held_out: float) -> tuple[Examples, Examples]:
    """Older rows and the newest ``held_out`` share, each in order of time (ties as stored)."""
    order_N = np.argsort(examples.ts_N, kind="stable")
    cut = len(order_N) - round(held_out * len(order_N))
    return examples.take(order_N[:cut]), examples.take(order_N[cut:])


def train(
    examples: Paths,
    spec: FeatureSpec,
    out_dir: str | Path,
    config: TrainConfig,
    seed: int,
    *,
    created: datetime,
    tasks: TaskSet = DEFAULT_TASKS,
    unlabelled: Paths | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Train teacher and student on examples and write the artifact.

    The same examples, configuration and seed give the same student on the same kind of machine.

    Args:
        examples: Parquet files or folders of them (see :mod:`models.examples`).
        spec: Feature spec that made their features.
        out_dir: Folder of the artifact; an artifact that is there is replaced.
        config: How it is trained.
        seed: Seed of everything random.
        created: Time that the manifest states.
        tasks: What is learned.
        unlabelled: Further examples, whose labels are not looked at: the teacher labels them for
            the student. Rows of ``examples`` without any label are used in the same way.
        progress: Where bars are shown; the terminal by default.

    Returns:
        The manifest that was written.

    Raises:
        ExampleError: If the examples cannot be read or a task has no positive or no negative.
        ExportError: If the exported student does not compute what the trained one does.
    """
    read = read_examples(examples, spec, tasks)
    pool_NC = None if unlabelled is None else read_examples(unlabelled, spec, tasks).features_NC
    split = _split(read, pool_NC, config.held_out, tasks)
    with deterministic(config.threads, seed), progress or default_progress() as bars:
        trained = _fit(split, FeatureLayout.of(spec), config, seed, tasks, bars)
    manifest = _manifest(split, trained, spec, config, seed, tasks, created)
    card = card_html(manifest, *trained.student, split.held_out.targets(tasks)).encode()
    manifest = manifest.model_copy(update={"files": manifest.files | {CARD_FILE: sha256(card)}})
    contents = {STUDENT_FILE: trained.model, SPEC_FILE: spec.text.encode(), CARD_FILE: card}
    write_artifact(Path(out_dir), manifest, contents)
    return manifest


def default_progress() -> Progress:
    """Bars on the terminal, with the time left."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )


def _fit(
    split: Split,
    layout: FeatureLayout,
    config: TrainConfig,
    seed: int,
    tasks: TaskSet,
    bars: Progress,
) -> Trained:
    ids_NC = _ids(split.labelled.features_NC)
    targets_NT = torch.from_numpy(split.labelled.targets(tasks))
    teacher = fit_teacher(
        layout,
        ids_NC,
        targets_NT,
        config=config.net,
        training=config.teacher,
        seed=seed,
        progress=bars,
    )
    all_NC = torch.cat([ids_NC, _ids(split.unlabelled_NC)])
    mean_NT, std_NT = teacher.predict(all_NC, bars, "training rows")
    student, rescaling_T = fit_student(
        layout,
        all_NC,
        mean_NT,
        std_NT,
        sizes=config.student,
        training=config.distillation,
        progress=bars,
    )
    held_NC = split.held_out.features_NC
    held_mean_NT, held_std_NT = teacher.predict(_ids(held_NC), bars, "held-out rows")
    model = export_student(student, rescaling_T)
    agreement, scores_NT, uncertainties_NT = check_agreement(student, rescaling_T, model, held_NC)
    return Trained(
        model=model,
        agreement=agreement,
        rescaling_T=rescaling_T,
        teacher=(held_mean_NT.numpy(), held_std_NT.numpy()),
        student=(scores_NT, uncertainties_NT),
    )


def _manifest(
    split: Split,
    trained: Trained,
    spec: FeatureSpec,
    config: TrainConfig,
    seed: int,
    tasks: TaskSet,
    created: datetime,
) -> Manifest:
    """The manifest of all files but the card, which is made from it."""
    labelled, held_out = split.labelled, split.held_out
    ts_max = int(labelled.ts_N.max())
    newest = datetime.fromtimestamp(ts_max / 1000, UTC).strftime("%Y%m%dT%H%M%S")
    model_hash = sha256(trained.model)
    rates_T: list[float] = np.nanmean(labelled.targets(tasks), axis=0).tolist()
    return Manifest(
        version=f"{newest}-{model_hash[:8]}",
        created=created.astimezone(UTC).isoformat(timespec="seconds"),
        files={STUDENT_FILE: model_hash, SPEC_FILE: sha256(spec.text.encode())},
        spec_hash=spec.hash,
        opset=OPSET,
        tasks=tuple(tasks),
        label_rates=dict(zip(tasks.names, rates_T, strict=True)),
        training=TrainingRange(
            ts_min=int(labelled.ts_N.min()),
            ts_max=ts_max,
            rows=len(labelled),
            unlabelled_rows=len(split.unlabelled_NC),
            held_out_rows=len(held_out),
        ),
        metrics=_metrics(trained, held_out.targets(tasks), tasks),
        rescaling=dict(zip(tasks.names, trained.rescaling_T.tolist(), strict=True)),
        agreement=trained.agreement,
        auto=judge_direct_passes(
            *trained.student,
            held_out.labels_NT,
            tasks,
            rate=config.auto_rate,
            weights=config.auto_weights,
        ),
        config=config.to_dict(),
        seed=seed,
    )


def _metrics(trained: Trained, targets_NT: Scores, tasks: TaskSet) -> Metrics:
    return Metrics(
        teacher=evaluate(trained.teacher[0], targets_NT, tasks),
        student=evaluate(trained.student[0], targets_NT, tasks),
        uncertainty_spearman={
            name: spearman(trained.student[1][:, column], trained.teacher[1][:, column])
            for column, name in enumerate(tasks.names)
        },
    )


def _split(
    examples: Examples, pool_NC: npt.NDArray[np.int32] | None, held_out: float, tasks: TaskSet
) -> Split:
    """Set rows apart by what they are for, and check that every task can be learned."""
    known_N = ~np.isnan(examples.labels_NT).all(axis=1)
    labelled, newest = split_by_time(examples.take(np.flatnonzero(known_N)), held_out)
    targets_NT = labelled.targets(tasks)
    for column, name in enumerate(tasks.names):
        known = targets_NT[~np.isnan(targets_NT[:, column]), column]
        if not 0 < known.sum() < len(known):
            raise ExampleError(
                f"label_{name}: {int(known.sum())} positives in {len(known)} rows of its "
                "population; both classes are needed"
            )
    pools = [examples.features_NC[~known_N], *([] if pool_NC is None else [pool_NC])]
    return Split(labelled=labelled, unlabelled_NC=np.concatenate(pools), held_out=newest)


def _ids(features_NC: npt.NDArray[np.int32]) -> torch.Tensor:
    return torch.from_numpy(features_NC).long()
