"""``weir train``: an artifact from examples, simulated traffic, JD's requests or a CSV file."""

import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from models.nets.config import KINDS
from models.tasks import TaskSet

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from models.artifact.manifest import Manifest
    from models.features import FeatureSpec
    from trainer.training.config import TrainConfig

WEEK = 1_400_000
"""Simulated requests in a week. Training uses the second week; demonstrations publish the first."""
STRETCHES = 28
STRETCH_ROWS = 2048
"""Training uses a stretch per quarter of a day through a week; fewer if they would get shorter."""

Out = Annotated[Path, typer.Option(help="Folder that the artifact is written to.")]
Examples = Annotated[
    list[Path] | None,
    typer.Option(help="Learn from this Parquet file or folder of examples; may be repeated."),
]
Simulated = Annotated[
    int | None,
    typer.Option(min=1000, help="Learn from N simulated requests and N unlabelled ones."),
]
Jd = Annotated[
    Path | None, typer.Option(help="Learn from the folder with JD's requests and events.")
]
Csv = Annotated[
    Path | None,
    typer.Option(
        help="Learn from a CSV file with the columns of the spec, and label_<task> per task."
    ),
]
Unlabelled = Annotated[
    list[Path] | None,
    typer.Option(
        help="Further examples for the student only; their labels are ignored. May be repeated."
    ),
]
Spec = Annotated[str, typer.Option(help="Name or path of the feature spec.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all random numbers of the training.")]
Teacher = Annotated[
    str | None,
    typer.Option(
        help=f"Kind of the teacher net: {', '.join(KINDS)}. Overrides [training.net] kind."
    ),
]
Method = Annotated[
    str | None,
    typer.Option(
        help="Method of the uncertainty that the student learns, such as swag or confirmed; auto "
        "chooses one by the held-out rows. Overrides [training] uncertainty."
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        help="Device to train on: auto (CUDA if any), cpu or cuda. Overrides [training] device."
    ),
]
CheckpointFolder = Annotated[
    Path | None,
    typer.Option(
        help="Folder where the state of the training is saved; an interrupted run resumes from it."
    ),
]
Quick = Annotated[bool, typer.Option("--quick", help="Train small nets briefly, for a trial run.")]


def register(app: typer.Typer) -> None:
    """Add ``train`` to the command line."""
    app.command()(train)


def train(
    ctx: typer.Context,
    out: Out,
    examples: Examples = None,
    simulated: Simulated = None,
    jd: Jd = None,
    csv: Csv = None,
    unlabelled: Unlabelled = None,
    spec: Spec = "openrtb",
    seed: Seed = 0,
    teacher: Teacher = None,
    uncertainty: Method = None,
    device: Device = None,
    checkpoint: CheckpointFolder = None,
    *,
    quick: Quick = False,
) -> None:
    """Train teacher and student, and write an artifact.

    An artifact is a folder with the student, its feature spec, a manifest and a card.
    """
    # torch takes seconds to import, and other commands must not pay for it.
    from rich.console import Console  # noqa: PLC0415

    from models.features import FeatureSpec  # noqa: PLC0415
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
    _print_summary(console, manifest, out)


def _check_writable(folder: Path) -> None:
    """Check before hours of training, and not after them, that the artifact can be written.

    Raises:
        OSError: If the folder, or the one that it would be created in, is not writable.
    """
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    with tempfile.TemporaryDirectory(dir=existing):
        pass


def _config(
    training: Mapping[str, Any],
    flags: Mapping[str, str | None],
    teacher: str | None,
    *,
    quick: bool,
) -> "TrainConfig":
    """The training settings, with the values of command line options in their place.

    Raises:
        SettingsError: If a key is unknown or a value is invalid.
    """
    from trainer.training.config import TrainConfig  # noqa: PLC0415

    given = {**training, **{key: value for key, value in flags.items() if value is not None}}
    config = TrainConfig.of(given, quick=quick)
    if teacher is None:
        return config
    net = {**given.get("net", {}), "kind": teacher}
    return TrainConfig.of({**given, "net": net}, quick=quick)


def _simulate(
    count: int, seed: int, spec: "FeatureSpec", folder: Path
) -> tuple[list[Path], list[Path]]:
    """Write stretches of labelled examples over a week, each followed by unlabelled ones."""
    import numpy as np  # noqa: PLC0415

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


def _read_jd(source: Path, tasks: TaskSet, spec: "FeatureSpec", folder: Path) -> list[Path]:
    from trainer.traffic.examples import write_jd_examples  # noqa: PLC0415
    from trainer.traffic.jd import JdRequests  # noqa: PLC0415

    path = folder / "jd.parquet"
    write_jd_examples(JdRequests.load(source, tasks), path, spec)
    return [path]


def _read_csv(
    source: Path, tasks: TaskSet, spec: "FeatureSpec", folder: Path, seed: int
) -> list[Path]:
    from trainer.pipeline.csv_examples import write_csv_examples  # noqa: PLC0415

    path = folder / "table.parquet"
    write_csv_examples(source, path, spec, tasks, seed=seed, warn=_warn)
    return [path]


def _warn(message: str) -> None:
    typer.secho(f"weir train: warning: {message}", fg="yellow", err=True)


def _print_summary(console: "Console", manifest: "Manifest", out: Path) -> None:
    console.print(_metrics_table(manifest))
    if unmeasured := [name for name, of in manifest.metrics.student.items() if of.auc_roc is None]:
        console.print(
            f"-: not measured: the held-out rows of {', '.join(unmeasured)} have one class only; "
            "learn from more rows"
        )
    console.print(f"wrote {out}, version {manifest.version}")


def _metrics_table(manifest: "Manifest") -> "Table":
    """Held-out metrics by task."""
    from rich.table import Table  # noqa: PLC0415

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
