"""Raw results of the units of work, stored as JSON Lines so that an interrupted run resumes.

A figure's key is a dotted path, which is also its place in the report; a curve is a list of values
along an ``x`` that all seeds share.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from models.errors import UserError


class ResultsError(UserError, ValueError):
    """Raw results belong to another run; the message names the file and the fix."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Results of one unit under one seed.

    Attributes:
        figures: One number per key; NaN if it could not be computed.
        curves: ``x`` and ``y`` per key.
    """

    figures: dict[str, float] = field(default_factory=dict)
    curves: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)

    def add(self, prefix: str, figures: dict[str, float]) -> None:
        """Add figures under ``prefix``."""
        self.figures.update({f"{prefix}.{key}": float(value) for key, value in figures.items()})

    def draw(self, key: str, x: Iterable[float], y: Iterable[float]) -> None:
        """Add a curve."""
        self.curves[key] = ([float(value) for value in x], [float(value) for value in y])

    def merge(self, other: "Measured") -> None:
        """Add all figures and curves of ``other``."""
        self.figures.update(other.figures)
        self.curves.update(other.curves)


class RawStore:
    """Results of finished units in a folder; units are stored completely or not at all.

    Every process that runs units appends to a file of its own and reads the files of all others.

    Args:
        folder: Folder of the files; it is created if missing.
        plan: Fingerprint of the plan, the first line of each file.
        part: Name of the file to append to.

    Raises:
        ResultsError: If a file belongs to another plan.
    """

    def __init__(self, folder: Path, plan: str, part: str = "raw") -> None:
        self._path = folder / f"{part}.jsonl"
        self.done: dict[tuple[str, int], Measured] = {}
        folder.mkdir(parents=True, exist_ok=True)
        if self._path.is_file():
            _drop_unfinished(self._path)
        else:
            self._path.write_text(json.dumps({"plan": plan}) + "\n")
        for path in sorted(folder.glob("raw*.jsonl")):
            self._read(path, plan)

    def _read(self, path: Path, plan: str) -> None:
        text = path.read_text()
        first, *lines = text[: text.rfind("\n")].split("\n")
        if json.loads(first)["plan"] != plan:
            raise ResultsError(
                f"{path}: these results belong to another plan; give another --out, or remove them"
            )
        for line in lines:
            found = json.loads(line)
            curves = {key: (x, y) for key, (x, y) in found["curves"].items()}
            self.done[found["unit"], found["seed"]] = Measured(found["figures"], curves)

    def put(self, unit: str, seed: int, measured: Measured) -> None:
        """Store the results of a unit."""
        self.done[unit, seed] = measured
        with self._path.open("a") as file:
            file.write(json.dumps({"unit": unit, "seed": seed, **asdict(measured)}) + "\n")


def _drop_unfinished(path: Path) -> None:
    """Remove an incomplete last line, left by a killed process; its unit is run again."""
    text = path.read_text()
    if not text.endswith("\n"):
        path.write_text(text[: text.rfind("\n") + 1])
