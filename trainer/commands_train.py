"""``weir train``: examples, or simulated traffic, to an artifact."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from models.artifact import ArtifactError
from models.examples import ExampleError
from models.features import FeatureSpec
from models.manifest import Manifest
from models.nets.export import ExportError
from trainer.config import TrainConfig
from trainer.simulated import simulated_examples
from trainer.train import train

console = Console()


def register(app: typer.Typer) -> None:
    """Add ``train`` to the command line."""
    app.command("train")(train_command)


def train_command(
    out: Annotated[Path, typer.Option(help="Folder of the artifact to write.")],
    examples: Annotated[
        list[Path] | None,
        typer.Option(help="Parquet file or folder of examples; may be given more than once."),
    ] = None,
    simulated: Annotated[
        int | None,
        typer.Option(
            min=1000, help="Learn from this many simulated requests, and twice as many unlabelled."
        ),
    ] = None,
    unlabelled: Annotated[
        list[Path] | None,
        typer.Option(help="Examples whose labels are ignored: only the student learns from them."),
    ] = None,
    spec: Annotated[str, typer.Option(help="Name or path of the feature spec.")] = "openrtb",
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    quick: Annotated[bool, typer.Option("--quick", help="Small models, little training.")] = False,
) -> None:
    """Train teacher and student, and write the artifact: student, spec, manifest, card."""
    if (examples is None) == (simulated is None):
        raise typer.BadParameter("give either --examples or --simulated")
    feature_spec = FeatureSpec.load(spec)
    config = TrainConfig().quick() if quick else TrainConfig()
    with tempfile.TemporaryDirectory() as folder:
        if simulated is not None:
            examples, unlabelled = simulated_examples(
                simulated, seed, feature_spec, Path(folder), console
            )
        try:
            manifest = train(
                examples or [],
                feature_spec,
                out,
                config,
                seed,
                created=datetime.now(UTC),
                unlabelled=unlabelled,
            )
        except (ExampleError, ExportError, ArtifactError) as error:
            console.print(f"[red]weir train:[/red] {error}")
            raise typer.Exit(1) from error
    console.print(summary(manifest))
    console.print(f"wrote {out} (version {manifest.version})")


def summary(manifest: Manifest) -> Table:
    """Held-out metrics as a table."""
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
