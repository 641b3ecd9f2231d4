"""Every number of a report as one polars frame, to be filtered, joined and plotted elsewhere."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson
import polars as pl

from stream.report.content import Report

SCHEMA: Final = {
    "figure": pl.String,
    "arm": pl.String,
    "base": pl.String,
    "task": pl.String,
    "method": pl.String,
    "by": pl.String,
    "group": pl.String,
    "check": pl.String,
    "index": pl.Int64,
    "number": pl.Float64,
    "text": pl.String,
}
_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "comparisons": {"arm": "arm", "base": "base"},
    "tasks": {"task": "task"},
    "methods": {"name": "method"},
    "groups": {"by": "by", "value": "group"},
    "curves": {"task": "task"},
    "arms": {"arm": "arm", "name": "arm"},
    "checks": {"expression": "check", "arm": "arm"},
    "views": {"arm": "arm"},
}
"""Of the lists of a report: fields that name an element, and the columns that they go to. The
elements of all other lists are numbered."""

Row = dict[str, Any]


def report_frame(report: Report) -> pl.DataFrame:
    """One row per figure of a report.

    ``figure`` is its path in ``report.json`` without places in lists, such as
    ``comparisons.tasks.kept.low``. What it is about is in the columns ``arm``, ``base``, ``task``,
    ``method``, ``by`` and ``group`` (a property of requests and its value), ``check``, and
    ``index`` in a list of numbers or of points; null where it is about none. The figure itself is
    in ``number`` (a truth value as 1 or 0) or ``text``; both are null where the report refuses it.

    Args:
        report: The report.
    """
    rows = list(_rows(orjson.loads(orjson.dumps(report)), (), {}))
    return pl.DataFrame(rows, schema=SCHEMA)


def _rows(value: Any, path: tuple[str, ...], about: Row) -> Iterator[Row]:
    if isinstance(value, dict):
        by_task = path[-1:] == ("change_per_1000",) and "group" in about and "task" not in about
        for key, inner in value.items():
            if by_task:
                yield from _rows(inner, path, about | {"task": key})
            else:
                yield from _rows(inner, (*path, key), about)
        return
    if isinstance(value, list):
        names = _NAMES.get(path[-1])
        for index, inner in enumerate(value):
            if names is None or not isinstance(inner, dict):
                yield from _rows(inner, path, about | {"index": index})
                continue
            found = {column: inner[key] for key, column in names.items() if key in inner}
            rest = {key: each for key, each in inner.items() if key not in names}
            yield from _rows(rest, path, about | found)
        return
    row = {"figure": ".".join(path), **about}
    if isinstance(value, str):
        yield row | {"text": value}
    else:
        yield row | {"number": None if value is None else float(value)}
