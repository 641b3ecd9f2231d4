"""`python -m chaos.fuzz`: what `make fuzz` runs; inputs that fail go to ``var/fuzz/TARGET/``."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from chaos.fuzz import scanner
from chaos.fuzz.campaign import Figures, interrupted
from chaos.fuzz.targets import all_targets

ROOT: Final = Path(__file__).parents[2]
VAR: Final = ROOT / "var" / "fuzz"
SCANNER: Final = "scanner"
SCANNER_PARTS: Final = 4
"""The scanner is fuzzed for as long as so many other targets together."""
GRACE_S: Final = 120.0


def run_target(name: str, seconds: float, seed: int, folder: Path) -> Figures:
    """Run a campaign in its own process; if that dies, the input it was running is a failure."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as built:
        more: dict[str, str] = {}
        command = [sys.executable, "-m", "chaos.fuzz.campaign", name]
        if name == SCANNER:
            library = scanner.build(Path(built))
            more = scanner.environment()
            corpus = Path(built) / "seeds"
            corpus.write_bytes(msgspec.msgpack.encode(scanner.seeds()))
            command = [sys.executable, "-m", "chaos.fuzz.scanner", str(library), str(corpus)]
        with (folder / "log.txt").open("wb") as log:
            try:
                done = subprocess.run(
                    [*command, str(seconds), str(seed), str(folder)],
                    cwd=ROOT,
                    env={**os.environ, **more},
                    stdout=subprocess.PIPE,
                    stderr=log,
                    timeout=seconds + GRACE_S,
                    check=False,
                )
                status, output = done.returncode, done.stdout
            except subprocess.TimeoutExpired:
                status, output = -1, b""
    if status == 0:
        return msgspec.json.decode(output.splitlines()[-1], type=Figures)
    path = folder / "ended.bin"
    path.write_bytes(interrupted(folder) or b"")
    return Figures(failures=[f"{path} (status {status}, see {folder / 'log.txt'})"])


def fuzz(
    minutes: Annotated[
        float, typer.Option(min=0.01, help="Minutes for all targets together.")
    ] = 2.0,
    seed: Annotated[int, typer.Option(help="Seed of the mutations.")] = 1,
    target: Annotated[
        list[str] | None, typer.Option(help="Targets to fuzz; all by default.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for inputs that fail.")] = VAR,
) -> None:
    """Fuzz scanner, ONNX check, message decoders and settings; exits with 1 if anything failed."""
    names = target or [SCANNER, *all_targets()]
    parts = {name: SCANNER_PARTS if name == SCANNER else 1 for name in names}
    console = Console()
    table = Table("target", "seconds", "executions", "kinds of outcome", "failures")
    total, failed = 0, 0
    for name in names:
        seconds = 60 * minutes * parts[name] / sum(parts.values())
        figures = run_target(name, seconds, seed, out / name)
        total, failed = total + figures.executions, failed + len(figures.failures)
        table.add_row(
            name, f"{seconds:.0f}", f"{figures.executions:,}", f"{figures.kinds}",
            f"{len(figures.failures)}",
        )  # fmt: skip
        for failure in figures.failures:
            console.print(f"{name} failed: {failure}", soft_wrap=True)
    console.print(table)
    console.print(f"{total:,} executions, {failed} failures, seed {seed}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    typer.run(fuzz)
