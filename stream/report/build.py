"""Builds the report of a replay from its folder."""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
import polars as pl

from models.errors import UserError
from models.tasks import TaskSet
from stream.offpolicy.errors import OffPolicyError
from stream.replay.folder import BASE, ReplayFolder
from stream.report.checks import parse_checks, run_checks
from stream.report.comparison import compare_arms
from stream.report.content import HOLD, LOG, SHIP, VERSION, Arm, Curve, Log, Report
from stream.report.curves import Ranked, value_curve
from stream.report.tables import Tables
from stream.report.text import shown
from stream.report.view_content import Views
from stream.report.views import views

LEVEL: Final = 0.95
MARGIN: Final = 1.0
"""Percent of a task's events that a change may cost before it counts as a loss."""
MAX_CODES: Final = 20
MAX_MODELS: Final = 5
MAX_VIEWS: Final = 6
"""Arms whose models are looked at."""
_ORDER: Final = {SHIP: 0, HOLD: 2}


class ReportError(UserError, ValueError):
    """A replay of which no report can be made; names the folder and the fix."""


def build_report(
    folder: ReplayFolder,
    tasks: TaskSet,
    *,
    fail_if: Sequence[str] = (),
    level: float = LEVEL,
    margin: float = MARGIN,
) -> Report:
    """Build the report of a replay.

    All arms are compared with ``base``; a replay of ``base`` alone is compared with the log.

    Args:
        folder: Folder of the replay.
        tasks: The tasks of the replay.
        fail_if: Conditions; see :mod:`stream.report.checks`.
        level: Confidence of all intervals.
        margin: Percent of a task's events that a change may cost before it counts as a loss.

    Raises:
        ReportError: If the folder is damaged, or its tasks are others.
        CheckError: If a condition cannot be read.
    """
    conditions = parse_checks(fail_if)
    if sorted(folder.tasks) != sorted(tasks.names):
        raise ReportError(
            f"{folder.path}: a replay of the tasks {', '.join(folder.tasks)}, but the settings "
            f"have {', '.join(tasks.names)}; give the settings of the replay with --config"
        )
    try:
        tables = Tables(folder, tasks.names)
        labelled = tasks if folder.labels() is not None else None
        ranked = {} if labelled is None else {name: _ranked(tables, name) for name in tasks.names}
        comparisons = sorted(
            (
                compare_arms(tables, arm, base, labelled, ranked, level=level, margin=margin)
                for arm, base in _pairs(tables)
            ),
            key=lambda one: _ORDER.get(one.verdict, 1),
        )
        content = _content(tables, folder, ranked, level)
        seen = [] if labelled is None else _views(tables, tasks)
    except (OffPolicyError, pl.exceptions.PolarsError, OSError) as error:
        raise ReportError(
            f"{folder.path}: its tables cannot be read together ({error}); replay again"
        ) from error
    checks = run_checks(conditions, comparisons)
    return Report(
        version=VERSION,
        level=level,
        margin=margin,
        outcomes=labelled is not None,
        comparisons=comparisons,
        views=seen,
        checks=checks,
        **content,
    )


def _pairs(tables: Tables) -> list[tuple[str, str]]:
    others = [(arm, BASE) for arm in tables.arms if arm != BASE]
    known = tables.all.lazy().select(tables.passed(LOG).is_not_null().any()).collect().item()
    return others or ([(BASE, LOG)] if known else [])


def _content(
    tables: Tables,
    folder: ReplayFolder,
    ranked: Mapping[str, Ranked],
    level: float,
) -> dict[str, Any]:
    summary = folder.summary()
    times = tables.all.lazy().select(
        first=pl.col("timestamp").min(), last=pl.col("timestamp").max()
    )
    first, last = times.collect(engine="streaming").row(0)
    curves: list[Curve] = [value_curve(task, data, level) for task, data in ranked.items()]
    return {
        "source": shown(summary.get("source", ""), 200),
        "requests": tables.rows,
        "rejects": _rejects(folder),
        "first_ms": first,
        "last_ms": last,
        "complete": bool(summary.get("complete", True)),
        "log": _log(tables),
        "arms": [_arm(tables, arm) for arm in tables.arms],
        "curves": curves,
    }


def _views(tables: Tables, tasks: TaskSet) -> list[Views]:
    return [views(tables, arm, tasks, _arm(tables, arm).passed) for arm in tables.arms[:MAX_VIEWS]]


def _rejects(folder: ReplayFolder) -> dict[str, int]:
    counts = folder.rejects().group_by("code").len().sort("len", "code", descending=True)
    rows = counts.head(MAX_CODES).collect().iter_rows()
    return {shown(code): number for code, number in rows}


def _log(tables: Tables) -> Log:
    passed, mu = tables.passed(LOG), tables.log_passes()
    counts = tables.all.lazy().select(
        passed=passed.sum(),
        blocked=(~passed).sum(),
        unknown=passed.is_null().sum(),
        explored=(passed & (mu < 1)).sum(),
        unseen=(~passed & (mu <= 0)).sum(),
    )
    return Log(**counts.collect(engine="streaming").row(0, named=True))


def _arm(tables: Tables, arm: str) -> Arm:
    passed = tables.all.lazy().select(tables.passed(arm).mean()).collect().item()
    models = [shown(version) for version in islice(tables.models(arm), MAX_MODELS)]
    return Arm(shown(arm), passed or 0.0, models)


def _ranked(tables: Tables, task: str) -> Ranked:
    """What the curves of one task are made from; see :class:`Ranked`."""
    mu, label = tables.log_passes(), pl.col(f"label_{task}")
    passed = tables.passed(LOG).fill_null(value=False)
    # a passed request without a label says nothing about any other
    seen = (mu > 0).fill_null(value=False) & ~(passed & label.is_null())
    event = (passed & label).fill_null(value=False)
    rows = (
        tables.all.lazy()
        .filter(tables.closed(task))
        .select(
            seen=seen,
            events=pl.when(event).then(1.0 / mu).otherwise(0.0),
            **{f"e:{arm}": tables.e(arm) for arm in tables.arms},
        )
        .collect(engine="streaming")
    )
    kept = rows.filter("seen")
    return Ranked(
        {
            arm: kept[f"e:{arm}"].fill_null(float("nan")).to_numpy().astype(np.float32, copy=False)
            for arm in tables.arms
        },
        kept["events"].to_numpy(),
        kept.height / max(rows.height, 1),
    )
