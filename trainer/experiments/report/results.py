"""Raw results of all units together, and their means, intervals and paired differences."""

from collections.abc import Mapping
from typing import Any

from models.nested import put
from trainer.experiments.raw import Measured
from trainer.experiments.report.stats import Curve, Estimate, curve, estimate, paired


class Results:
    """Figures by key and seed.

    Args:
        done: Results by unit and seed. Units have no keys in common.
    """

    def __init__(self, done: Mapping[tuple[str, int], Measured]) -> None:
        self._values: dict[str, dict[int, float]] = {}
        self._curves: dict[str, dict[int, list[float]]] = {}
        self._x: dict[str, list[float]] = {}
        for (_unit, seed), measured in sorted(done.items()):
            for key, value in measured.figures.items():
                self._values.setdefault(key, {})[seed] = value
            for key, (x, y) in measured.curves.items():
                self._x[key] = x
                self._curves.setdefault(key, {})[seed] = y

    def figure(self, key: str) -> Estimate | None:
        """Estimate of a figure; None if no seed has it."""
        return _or_none(self._values.get(key, {}))

    def difference(self, key: str, other: str) -> Estimate | None:
        """The first figure minus the second, paired within the seeds that have both."""
        first, second = self._values.get(key, {}), self._values.get(other, {})
        try:
            return paired(first, second)
        except ValueError:
            return None

    def tree(self, prefix: str) -> dict[str, Any]:
        """All figures under ``prefix``, nested by the parts of their keys."""
        found: dict[str, Any] = {}
        for key in self._values:
            if key.startswith(f"{prefix}.") and (value := self.figure(key)) is not None:
                put(found, key.removeprefix(f"{prefix}."), value)
        return found

    def curves(self, prefix: str) -> dict[str, Curve]:
        """All curves under ``prefix``, by the rest of their keys."""
        return {
            key.removeprefix(f"{prefix}."): curve(self._x[key], values)
            for key, values in self._curves.items()
            if key.startswith(f"{prefix}.")
        }

    def curve_tree(self, prefix: str) -> dict[str, Any]:
        """All curves under ``prefix``, nested by the parts of their keys."""
        found: dict[str, Any] = {}
        for key, value in self.curves(prefix).items():
            put(found, key, value)
        return found

    def names(self, prefix: str) -> list[str]:
        """Names of the entries directly under ``prefix``, in the order found."""
        keys = [key for key in self._values if key.startswith(f"{prefix}.")]
        return list(dict.fromkeys(key.removeprefix(f"{prefix}.").split(".")[0] for key in keys))


def _or_none(values: Mapping[int, float]) -> Estimate | None:
    try:
        return estimate(values)
    except ValueError:
        return None
