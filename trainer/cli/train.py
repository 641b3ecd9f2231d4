"""``weir train``: examples, simulated traffic, JD's requests or a CSV file to an artifact."""

import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from models.artifact.manifest import Manifest
from models.features import FeatureSpec
from models.tasks import TaskSet

if TYPE_CHECKING:
    from trainer.training.config import TrainConfig

WEEK = 1_400_000
"""Simulated requests in a week. Learning starts in the second, which no demonstration publishes."""
STRETCHES = 28
STRETCH_ROWS = 2048
"""Learning sees a stretch every quarter of a day through a week; fewer, if they got shorter."""


def register(app: typer.Typer) -> None:
    """Add ``train`` to the command line."""
    app.command()(train)


def train(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder of the artifact to write.")],
    examples: Annotated[
        list[Path] | None,
        typer.Option(help="Parquet file or folder of examples; may be repeated."),
    ] = None,
    simulated: Annotated[
        int | None,
        typer.Option(min=1000, help="Learn from N simulated requests and N unlabelled ones."),
    ] = None,
    jd: Annotated[
        Path | None, typer.Option(help="Learn from the folder with JD's requests and events.")
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option(help="Learn from a CSV file: columns of the spec, and label_<task> per task."),
    ] = None,
    unlabelled: Annotated[
        list[Path] | None,
        typer.Option(help="Examples whose labels are ignored; only the student sees them."),
    ] = None,
    spec: Annotated[str, typer.Option(help="Name or path of the feature spec.")] = "openrtb",
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    teacher: Annotated[
        str | None,
        typer.Option(help="Kind: mlp, transformer, ple-mlp, ple-transformer. [training.net] kind"),
    ] = None,
    uncertainty: Annotated[
        str | None,
        typer.Option(help="Method that the student's u is learned from. [training] uncertainty"),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto (CUDA when it is there), cpu, cuda. [training] device")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Folder to save the state in, and to go on from after an interruption."),
    ] = None,
    *,
    quick: Annotated[bool, typer.Option("--quick", help="Small models, little training.")] = False,
) -> None:
    """Train teacher and student; write an artifact.

    It is a folder of student, feature spec, manifest and card.
    """
    # torch takes seconds to import, and other commands must never pay for it.
    from trainer.pipeline.train import train as train_artifact  # noqa: PLC0415

    if sum(source is not None for source in (examples, simulated, jd, csv)) != 1:
        raise typer.BadParameter("give one of --examples, --simulated, --jd or --csv")
    flags = {"uncertainty": uncertainty, "device": device}
    config = _config(ctx.obj.training, flags, teacher, quick=quick)
    tasks: TaskSet = ctx.obj.task_set
    feature_spec = FeatureSpec.load(spec)
    _check_writable(out)
    console = Console(quiet=int(os.environ.get("RANK", "0")) > 0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if simulated is not None:
            with console.status(f"simulating {2 * simulated:,} requests"):
                examples, unlabelled = _simulate(simulated, seed, feature_spec, folder)
        elif jd is not None:
            with console.status(f"reading {jd}"):
                examples = _read_jd(jd, tasks, feature_spec, folder)
        elif csv is not None:
            examples = _read_csv(csv, tasks, feature_spec, folder, seed)
        manifest = train_artifact(
            examples or [],
            feature_spec,
            out,
            config,
            seed,
            created=datetime.now(UTC),
            tasks=tasks,
            unlabelled=unlabelled,
            checkpoint=checkpoint,
        )
    console.print(_summary(manifest))
    if unmeasured := [name for name, of in manifest.metrics.student.items() if of.auc_roc is None]:
        console.print(
            f"-: not measured, the held-out rows of {', '.join(unmeasured)} have one class only; "
            "learn from more rows"
        )
    console.print(f"wrote {out}, version {manifest.version}")


def _check_writable(folder: Path) -> None:
    """Better before hours of training than after them.

    Raises:
        OSError: If nothing can be written to the folder, or to where it would be made.
    """
    there = next(path for path in (folder, *folder.parents) if path.exists())
    with tempfile.TemporaryDirectory(dir=there):
        pass


def _config(
    training: Mapping[str, Any],
    flags: Mapping[str, str | None],
    teacher: str | None,
    *,
    quick: bool,
) -> "TrainConfig":
    """The settings' table with the options in their place.

    Raises:
        SettingsError: If a key is unknown or a value does not fit.
    """
    from trainer.training.config import TrainConfig  # noqa: PLC0415

    given = {**training, **{key: value for key, value in flags.items() if value is not None}}
    config = TrainConfig.of(given, quick=quick)
    if teacher is None:
        return config
    net = {**given.get("net", {}), "kind": teacher}
    return TrainConfig.of({**given, "net": net}, quick=quick)


def _simulate(
    count: int, seed: int, spec: FeatureSpec, folder: Path
) -> tuple[list[Path], list[Path]]:
    """Stretches of labelled examples spread over a week, each followed by unlabelled ones."""
    from trainer.simulation.simulator import Simulator  # noqa: PLC0415
    from trainer.traffic.examples import write_examples  # noqa: PLC0415

    simulator = Simulator(seed)
    stretches = max(min(STRETCHES, count // STRETCH_ROWS), 1)
    labelled, unlabelled = [], []
    for stretch, rows in enumerate(np.diff(np.linspace(0, count, stretches + 1).astype(int))):
        size = int(rows)
        start = WEEK + stretch * max(WEEK // stretches, 2 * size)
        labelled.append(folder / f"labelled-{stretch:02}.parquet")
        unlabelled.append(folder / f"unlabelled-{stretch:02}.parquet")
        write_examples(simulator, size, labelled[-1], spec, start=start)
        write_examples(simulator, size, unlabelled[-1], spec, start=start + size)
    return labelled, unlabelled


def _read_jd(source: Path, tasks: TaskSet, spec: FeatureSpec, folder: Path) -> list[Path]:
    from trainer.traffic.examples import write_jd_examples  # noqa: PLC0415
    from trainer.traffic.jd import JdRequests  # noqa: PLC0415

    path = folder / "jd.parquet"
    write_jd_examples(JdRequests.load(source, tasks), path, spec)
    return [path]


def _read_csv(
    source: Path, tasks: TaskSet, spec: FeatureSpec, folder: Path, seed: int
) -> list[Path]:
    from trainer.pipeline.csv_examples import write_csv_examples  # noqa: PLC0415

    path = folder / "table.parquet"
    write_csv_examples(source, path, spec, tasks, seed=seed, warn=_warn)
    return [path]


def _warn(suspicion: str) -> None:
    typer.secho(f"weir train: warning: {suspicion}", fg="yellow", err=True)


def _summary(manifest: Manifest) -> Table:
    """Held-out metrics."""
    table = Table("task", "label rate", "teacher AUC", "student AUC", "student ECE", "Spearman u")
    for name, rate in manifest.label_rates.items():
        teacher, student = manifest.metrics.teacher[name], manifest.metrics.student[name]
        figures = (teacher.auc_roc, student.auc_roc, student.ece)
        table.add_row(
            name,
            f"{rate:.4f}",
            *("-" if figure is None else f"{figure:.4f}" for figure in figures),
            f"{manifest.metrics.uncertainty_spearman[name]:.3f}",
        )
    return table
