"""From examples to an artifact: teacher, SWAG, student, export, metrics, manifest, card.

The steps, in order: lay the rows out on disk with the newest ones held out, fit the teacher and the
stacked models on the labelled rows, label all rows with their blend, distil the student, export and
check it, evaluate both on the held-out rows, write the artifact's folder.
"""

import tempfile
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from models.artifact import write_artifact
from models.artifact.manifest import (
    CANARY_FILE,
    CARD_FILE,
    SPEC_FILE,
    STUDENT_FILE,
    AutoEvidence,
    Manifest,
    sha256,
)
from models.artifact.reference import REFERENCE_FILE
from models.data.examples import Paths
from models.features import FeatureSpec
from models.nets.embedding import FeatureLayout
from models.nets.export import check_agreement, export_student
from models.tasks import DEFAULT_TASKS, TaskSet
from trainer.evaluation.card import card_html
from trainer.pipeline.labeller import choose_labeller
from trainer.pipeline.manifest import TrainedStudent, TrainingJob, build_manifest
from trainer.pipeline.reference import build_canary, build_reference
from trainer.stacking.fit import blend
from trainer.training.checkpoint import Checkpoint
from trainer.training.config import NET, TrainConfig
from trainer.training.context import FitContext
from trainer.training.delay.method import FitPlan, delay_method
from trainer.training.devices import open_devices
from trainer.training.distillation import fit_student, sets_per_row
from trainer.training.early_stopping import choose_steps, needs_pilot
from trainer.training.loop import deterministic
from trainer.training.objective.funnel import Funnel
from trainer.training.rows import TrainingRows, lay_out
from trainer.training.selection import loss_weights
from trainer.training.soft_labels import Labeller, label_rows, unfinished_files
from trainer.training.teacher import fit_teacher
from trainer.training.warm_start import keep_weights, start_from


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
    start: Path | None = None,
    keep: Path | None = None,
) -> Manifest:
    """Train teacher and student on examples and write the artifact.

    The same examples, configuration and seed give the same student on the same kind of machine.
    Under `torchrun` all processes train together, and the first one writes. The rows lie in
    ``TMPDIR``, not in RAM (:mod:`trainer.training.rows`).

    Args:
        examples: Parquet files or folders of them (see :mod:`models.data.examples`).
        spec: Feature spec that their features were extracted with.
        out_dir: Folder of the artifact; an existing artifact is replaced.
        config: Configuration of the training.
        seed: Seed of everything random.
        created: Creation time in the manifest.
        tasks: The tasks.
        unlabelled: Further examples, whose labels are ignored: the teacher labels them for the
            student. Rows of ``examples`` without any label are used in the same way.
        progress: Progress display; the terminal by default.
        checkpoint: Folder of the state of an interrupted run, which resumes; deleted at the end.
        start: File of a teacher's weights to start from, where they fit.
        keep: File that the teacher's weights are kept in, as such a start.

    Raises:
        CheckpointError: If the checkpoint belongs to another job or is damaged.
        DeviceError: If the configured device does not exist.
        ExampleError: If the examples cannot be read or a task has no positive or no negative.
        ExportError: If the exported student does not compute what the trained one does.
    """
    job = TrainingJob(spec, tasks, config, seed, start, keep)
    with (
        open_devices(config.device) as devices,
        deterministic(config.threads, seed, devices),
        progress or default_progress(shown=devices.first) as bars,
        tempfile.TemporaryDirectory(prefix="weir-train-") as temporary,
    ):
        rows = _lay_out(job, examples, unlabelled, Path(temporary), bars)
        context = FitContext(seed, bars, devices, funnel=Funnel.of(tasks))
        if checkpoint is not None:
            context = replace(context, checkpoint=_checkpoint(job, rows, checkpoint, devices.first))
        trained = _fit(job, rows, Path(temporary), context)
        manifest = build_manifest(job, rows, trained, created)
        if devices.first:
            manifest = _write(Path(out_dir), manifest, trained, rows, spec)
        if context.checkpoint is not None:
            context.checkpoint.remove()
    return manifest


def default_progress(*, shown: bool = True) -> Progress:
    """Progress bars on the terminal, with the time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        disable=not shown,
    )


def _lay_out(
    job: TrainingJob, examples: Paths, unlabelled: Paths | None, folder: Path, progress: Progress
) -> TrainingRows:
    held_out = job.config.held_out
    return lay_out(
        examples,
        unlabelled,
        job.spec,
        job.tasks,
        held_out=held_out,
        folder=folder,
        progress=progress,
        uses=delay_method(job.config.delay.method).uses,
    )


def _checkpoint(job: TrainingJob, rows: TrainingRows, folder: Path, writes: bool) -> Checkpoint:
    """The checkpoint of this job on these rows."""
    identity = {
        **rows.digests,
        "spec": job.spec.hash,
        "tasks": [task.model_dump() for task in job.tasks],
        "config": job.config.to_dict(),
        "seed": job.seed,
        "start": None if job.start is None else str(job.start),
    }
    return Checkpoint(folder, identity, writes=writes)


def _fit(job: TrainingJob, rows: TrainingRows, folder: Path, context: FitContext) -> TrainedStudent:
    """Fit teacher and student, export the student, and predict the held-out rows with both."""
    layout, config = FeatureLayout.of(job.spec), job.config
    ids_NC, held_out = rows.all_rows.ids_KC, rows.held_out
    labeller, methods = _fit_labeller(layout, job, rows, context)
    mean_NT, std_NT = label_rows(
        labeller,
        ids_NC,
        len(job.tasks),
        _labels_file(folder, context),
        sets=sets_per_row(len(ids_NC) - held_out, config.distillation),
        context=context,
    )
    student = fit_student(
        layout,
        ids_NC[held_out:],
        mean_NT[held_out:],
        std_NT[held_out:],
        sizes=config.student,
        training=config.distillation,
        context=context,
        hard_NT=rows.all_rows.targets_KT[held_out:],
        weights_N=_loss_weights(rows, slice(held_out, None), config),
    )
    model = export_student(student)
    agreement, scores_NT, uncertainties_NT = check_agreement(
        student, model, ids_NC[:held_out].numpy()
    )
    return TrainedStudent(
        model=model,
        agreement=agreement,
        scale=student.scale,
        teacher=(mean_NT[:held_out].numpy(), std_NT[:held_out].numpy()),
        student=(scores_NT, uncertainties_NT),
        methods=methods,
    )


def _fit_labeller(
    layout: FeatureLayout, job: TrainingJob, rows: TrainingRows, context: FitContext
) -> tuple[Labeller, AutoEvidence | None]:
    """Fit the teacher, and what else the configured score and uncertainty need.

    On small tables, early stopping chooses the teacher's number of steps first.
    """
    config, labelled = job.config, rows.labelled_rows
    weights_N = _loss_weights(rows, slice(rows.held_out, rows.held_out + rows.labelled), config)
    plan = FitPlan(job.tasks.names, layout.rows, job.seed)
    correction = delay_method(config.delay.method).correction(labelled, plan)
    if needs_pilot(len(labelled), config.teacher):
        steps = choose_steps(
            layout,
            labelled.ids_KC,
            labelled.targets_KT,
            config=config.net,
            training=config.teacher,
            context=context,
            weights_N=weights_N,
            correction=correction,
        )
        config = replace(config, teacher=replace(config.teacher, steps=steps))
    teacher = fit_teacher(
        layout,
        labelled.ids_KC,
        labelled.targets_KT,
        config=config.net,
        training=config.teacher,
        context=context,
        weights_N=weights_N,
        correction=correction,
        prepare=lambda net: None if job.start is None else start_from(job.start, net, job.fits),
    )
    if job.keep is not None and context.devices.first:
        keep_weights(job.keep, teacher.net, job.fits)
    scorer: Labeller = teacher
    if config.score != NET:
        scorer = blend(
            teacher, layout, labelled, weights_N=weights_N, config=config, context=context
        )
    return choose_labeller(
        teacher,
        scorer,
        layout,
        labelled,
        rows.held_out_rows,
        tasks=job.tasks,
        config=config,
        context=context,
    )


def _loss_weights(rows: TrainingRows, part: slice, config: TrainConfig) -> Tensor | None:
    """Weights of a part of the rows in the losses of teacher and student."""
    counts_K, propensities_K = rows.all_rows.weights_K[part], rows.propensities_N[part]
    return loss_weights(counts_K, propensities_K, config.propensity_clip)


def _labels_file(folder: Path, context: FitContext) -> Path:
    """File of the soft labels: part of the checkpoint in the process that may write it."""
    temporary = folder / "soft"
    if context.checkpoint is None:
        return temporary
    path = context.checkpoint.file("labels")
    for unfinished in unfinished_files(path):
        context.checkpoint.file(unfinished.name)
    return path if context.devices.first or path.exists() else temporary


def _write(
    out: Path, manifest: Manifest, trained: TrainedStudent, rows: TrainingRows, spec: FeatureSpec
) -> Manifest:
    """Write the artifact; return its manifest, which lists card, reference and canary batch too."""
    held_out = rows.held_out_rows
    tasks = manifest.task_set
    added = {
        CARD_FILE: card_html(manifest, *trained.student, held_out.targets_KT.numpy()).encode(),
        REFERENCE_FILE: build_reference(rows, trained.student[0], spec, tasks).to_bytes(),
        CANARY_FILE: build_canary(trained.model, held_out.ids_KC.numpy()).to_bytes(),
    }
    hashes = {name: sha256(content) for name, content in added.items()}
    manifest = manifest.model_copy(update={"files": manifest.files | hashes})
    contents = {STUDENT_FILE: trained.model, SPEC_FILE: spec.text.encode(), **added}
    write_artifact(out, manifest, contents)
    return manifest
