"""A table of the report, independent of its rendering, and the format of its figures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainer.experiments.report.stats import Estimate

MISSING = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the first column names the row."""

    title: str
    note: str
    head: list[str]
    rows: list[list[str]]


def shown(value: Estimate | None, digits: int = 3, *, signed: bool = False) -> str:
    """Format mean and half the interval: ``0.123 ± 0.004``."""
    if value is None:
        return MISSING
    mean = f"{value.mean:+.{digits}f}" if signed else f"{value.mean:.{digits}f}"
    return mean if value.low is None else f"{mean} ± {value.half:.{digits}f}"


def first_keys(tree: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Keys of the first entry, which all entries share."""
    return list(next(iter(tree.values()), {}))
