"""From examples to an artifact: teacher, SWAG, student, export, metrics, manifest, card.

The way through this file: lay the rows out on disk with the newest slice apart, fit the teacher on
the labelled ones, label everything with it, distil the student, export and check it, judge both on
the held-out slice, write the folder.
"""

import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from models.artifact import write_artifact
from models.artifact.manifest import (
    CARD_FILE,
    SPEC_FILE,
    STUDENT_FILE,
    AutoEvidence,
    Manifest,
    Metrics,
    TrainingRange,
    sha256,
)
from models.artifact.onnxfile import OPSET
from models.data.examples import Examples, Paths
from models.features import FeatureSpec
from models.nets.embedding import FeatureLayout
from models.nets.export import check_agreement, export_student
from models.nets.scale import MeanScale, UncertaintyScale
from models.tasks import DEFAULT_TASKS, TaskSet
from trainer.evaluation.card import card_html
from trainer.evaluation.direct_passes import judge_direct_passes
from trainer.evaluation.metrics import evaluate, spearman
from trainer.pipeline.labeller import choose_labeller
from trainer.training.checkpoint import Checkpoint, StateFile
from trainer.training.config import AUTO, SWAG, TeacherTraining, TrainConfig
from trainer.training.devices import Devices, open_devices
from trainer.training.distillation import fit_student, sets_per_row
from trainer.training.early_stopping import choose_steps, needs_a_pilot
from trainer.training.loop import deterministic
from trainer.training.rows import TrainingRows, counts, lay_out
from trainer.training.soft_labels import label, unfinished_files
from trainer.training.teacher import fit_teacher

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Job:
    """What an artifact depends on, besides the kind of machine.

    Attributes:
        spec: Feature spec of the examples.
        tasks: What is learned.
        config: How.
        seed: Seed of everything random.
    """

    spec: FeatureSpec
    tasks: TaskSet
    config: TrainConfig
    seed: int

    def checkpoint(self, folder: Path, rows: TrainingRows, devices: Devices) -> Checkpoint:
        """The checkpoint of this job on these rows."""
        identity = {
            **rows.digests,
            "spec": self.spec.hash,
            "tasks": [task.model_dump() for task in self.tasks],
            "config": self.config.to_dict(),
            "seed": self.seed,
        }
        return Checkpoint(folder, identity, writes=devices.first)


@dataclass(frozen=True, slots=True)
class Trained:
    """A distilled student, exported, and what both models say about the held-out rows.

    Attributes:
        model: Content of ``student.onnx``.
        agreement: Largest difference between torch and onnxruntime.
        scale: Between the student's uncertainty head and the teacher's unit.
        teacher: Probabilities and uncertainties of the teacher, each (N, T).
        student: The same of the exported student.
        methods: How the uncertainty methods compared, if they did.
    """

    model: bytes
    agreement: float
    scale: UncertaintyScale
    teacher: tuple[Scores, Scores]
    student: tuple[Scores, Scores]
    methods: AutoEvidence | None


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
    checkpoint: Path | None = None,
) -> Manifest:
    """Train teacher and student on examples and write the artifact.

    The same examples, configuration and seed give the same student on the same kind of machine.
    Under `torchrun` all processes train together, and the first one writes.

    Memory does not hold the rows: see :mod:`trainer.training.rows`, whose files lie in a temporary
    folder (``TMPDIR``) meanwhile.

    Args:
        examples: Parquet files or folders of them (see :mod:`models.data.examples`).
        spec: Feature spec that made their features.
        out_dir: Folder of the artifact; an artifact that is there is replaced.
        config: How it is trained.
        seed: Seed of everything random.
        created: Time that the manifest states.
        tasks: What is learned.
        unlabelled: Further examples, whose labels are not looked at: the teacher labels them for
            the student. Rows of ``examples`` without any label are used in the same way.
        progress: Where bars are shown; the terminal by default.
        checkpoint: Folder where the state is saved every half a minute. If a run of the same job
            was interrupted, this one goes on from there. Removed at the end.

    Returns:
        The manifest that was written.

    Raises:
        CheckpointError: If the checkpoint is another job's or damaged.
        DeviceError: If the device that the configuration names is not there.
        ExampleError: If the examples cannot be read or a task has no positive or no negative.
        ExportError: If the exported student does not compute what the trained one does.
    """
    job = Job(spec, tasks, config, seed)
    with (
        open_devices(config.device) as devices,
        deterministic(config.threads, seed, devices),
        progress or default_progress(shown=devices.first) as bars,
        tempfile.TemporaryDirectory(prefix="weir-train-") as temporary,
    ):
        folder = Path(temporary)
        rows = lay_out(
            examples,
            unlabelled,
            spec,
            tasks,
            held_out=config.held_out,
            folder=folder,
            progress=bars,
        )
        kept = None if checkpoint is None else job.checkpoint(checkpoint, rows, devices)
        trained = _fit(rows, job, devices, kept, folder, bars)
        manifest = _manifest(rows, trained, job, created)
        if devices.first:
            manifest = _write(Path(out_dir), manifest, trained, rows, spec)
        if kept is not None:
            kept.remove()
    return manifest


def default_progress(*, shown: bool = True) -> Progress:
    """Bars on the terminal, with the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        disable=not shown,
    )


def _fit(
    rows: TrainingRows,
    job: Job,
    devices: Devices,
    kept: Checkpoint | None,
    folder: Path,
    bars: Progress,
) -> Trained:
    layout = FeatureLayout.of(job.spec)
    config = replace(job.config, teacher=_teacher_training(layout, rows, job, devices, bars))
    teacher = fit_teacher(
        layout,
        rows.teaching.ids_KC,
        rows.teaching.targets_KT,
        config=config.net,
        training=config.teacher,
        seed=job.seed,
        progress=bars,
        devices=devices,
        saved=_state(kept, "teacher"),
        weights_N=rows.teaching.uneven_weights,
    )
    ids_NC, newest = rows.everything.ids_KC, rows.held_out
    labels = _labels_file(kept, folder, devices)
    labeller, methods = choose_labeller(
        teacher,
        layout,
        rows.teaching,
        rows.newest,
        tasks=job.tasks,
        config=config,
        seed=job.seed,
        progress=bars,
    )
    mean_NT, std_NT = label(
        labeller,
        ids_NC,
        len(job.tasks),
        labels,
        sets=sets_per_row(len(ids_NC) - newest, job.config.distillation),
        devices=devices,
        progress=bars,
    )
    student = fit_student(
        layout,
        ids_NC[newest:],
        mean_NT[newest:],
        std_NT[newest:],
        sizes=job.config.student,
        training=job.config.distillation,
        progress=bars,
        hard_NT=rows.everything.targets_KT[newest:],
        devices=devices,
        saved=_state(kept, "student"),
    )
    model = export_student(student)
    held_NC = ids_NC[:newest].numpy()
    agreement, scores_NT, uncertainties_NT = check_agreement(student, model, held_NC)
    return Trained(
        model=model,
        agreement=agreement,
        scale=student.scale,
        teacher=(mean_NT[:newest].numpy(), std_NT[:newest].numpy()),
        student=(scores_NT, uncertainties_NT),
        methods=methods,
    )


def _teacher_training(
    layout: FeatureLayout, rows: TrainingRows, job: Job, devices: Devices, bars: Progress
) -> TeacherTraining:
    """The teacher's training, with the steps that early stopping finds where it is asked."""
    training, teaching = job.config.teacher, rows.teaching
    if not needs_a_pilot(len(teaching), training):
        return training
    steps = choose_steps(
        layout,
        teaching.ids_KC,
        teaching.targets_KT,
        config=job.config.net,
        training=training,
        progress=bars,
        devices=devices,
    )
    return replace(training, steps=steps)


def _state(kept: Checkpoint | None, name: str) -> StateFile | None:
    return None if kept is None else kept.state(name)


def _labels_file(kept: Checkpoint | None, folder: Path, devices: Devices) -> Path:
    """Where this process keeps the teacher's labels: with the checkpoint, if it may write there."""
    if kept is None:
        return folder / "soft"
    path = kept.file("labels")
    for unfinished in unfinished_files(path):
        kept.file(unfinished.name)
    return path if devices.first or path.exists() else folder / "soft"


def _write(
    out: Path, manifest: Manifest, trained: Trained, rows: TrainingRows, spec: FeatureSpec
) -> Manifest:
    """Write the artifact; the manifest that it carries."""
    card = card_html(manifest, *trained.student, rows.newest.targets_KT.numpy()).encode()
    manifest = manifest.model_copy(update={"files": manifest.files | {CARD_FILE: sha256(card)}})
    contents = {STUDENT_FILE: trained.model, SPEC_FILE: spec.text.encode(), CARD_FILE: card}
    write_artifact(out, manifest, contents)
    return manifest


def _manifest(rows: TrainingRows, trained: Trained, job: Job, created: datetime) -> Manifest:
    """The manifest of all files but the card, which is made from it."""
    names, config = job.tasks.names, job.config
    newest = datetime.fromtimestamp(rows.ts_max / 1000, UTC).strftime("%Y%m%dT%H%M%S")
    model_hash = sha256(trained.model)
    known_T, positives_T = counts(rows.teaching.targets_KT)
    rates_T: list[float] = (positives_T.double() / known_T).tolist()
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
        metrics=_metrics(trained, rows.newest.targets_KT.numpy(), job.tasks),
        uncertainty_target=config.distillation.target,
        rescaling=_rescaling(trained.scale, job.tasks),
        agreement=trained.agreement,
        auto=judge_direct_passes(
            trained.student[0],
            {_method(trained, config): trained.student[1]},
            rows.newest.labels_KT.numpy(),
            job.tasks,
            rate=config.auto_rate,
            weights=config.auto_weights,
        ),
        methods=trained.methods,
        config=config.to_dict(),
        seed=job.seed,
    )


def _method(trained: Trained, config: TrainConfig) -> str:
    """Whose uncertainty the student learned."""
    if config.uncertainty != AUTO:
        return config.uncertainty
    return SWAG if trained.methods is None else trained.methods.method


def _rescaling(scale: UncertaintyScale, tasks: TaskSet) -> dict[str, float]:
    if not isinstance(scale, MeanScale):
        return {}
    return dict(zip(tasks.names, scale.factor_T.tolist(), strict=True))


def _metrics(trained: Trained, targets_NT: Scores, tasks: TaskSet) -> Metrics:
    return Metrics(
        teacher=evaluate(trained.teacher[0], targets_NT, tasks),
        student=evaluate(trained.student[0], targets_NT, tasks),
        uncertainty_spearman={
            name: spearman(trained.student[1][:, column], trained.teacher[1][:, column])
            for column, name in enumerate(tasks.names)
        },
    )
