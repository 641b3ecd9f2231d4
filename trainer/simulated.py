"""Simulated examples for training: labelled ones first, then the unlabelled that follow them."""

from pathlib import Path

from rich.console import Console

from models.features import FeatureSpec
from trainer.traffic.examples import write_examples
from trainer.traffic.simulator import Simulator

UNLABELLED_PER_LABELLED = 2


def simulated_examples(
    count: int, seed: int, spec: FeatureSpec, folder: Path, console: Console
) -> tuple[list[Path], list[Path]]:
    """Write ``count`` labelled and twice as many unlabelled examples.

    Args:
        count: Labelled requests, the first of the stream.
        seed: Seed of the simulator.
        spec: Extracts the features.
        folder: Where the files are written.
        console: Where progress is shown.

    Returns:
        Paths of the labelled and of the unlabelled examples.
    """
    simulator = Simulator(seed)
    labelled, unlabelled = folder / "labelled.parquet", folder / "unlabelled.parquet"
    with console.status(f"simulating {count:,} requests"):
        write_examples(simulator, count, labelled, spec)
    more = UNLABELLED_PER_LABELLED * count
    with console.status(f"simulating {more:,} unlabelled requests"):
        write_examples(simulator, more, unlabelled, spec, start=count)
    return [labelled], [unlabelled]
