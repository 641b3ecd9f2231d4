"""Runs a comparison, resuming from what is finished, and writes its report."""

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from html import escape
from pathlib import Path

import orjson
from rich.progress import Progress

from trainer.experiments.data import Source
from trainer.experiments.raw import RawStore
from trainer.experiments.report.pages import STYLE, html_table, markdown_table
from trainer.experiments.report.results import Results
from trainer.experiments.report.table import Table
from trainer.experiments.runs import Unit, run, share_of
from trainer.zoo.measure import BOOSTING, TRUTH, measure_boosting, measure_net, measure_truth
from trainer.zoo.plan import ZooPlan
from trainer.zoo.report import zoo_json, zoo_tables


def units(source: Source, plan: ZooPlan) -> Iterator[Unit]:
    """All units, seed by seed, so that an interrupted run has whole seeds."""
    for seed in range(1, plan.seeds + 1):
        yield Unit(TRUTH, seed, partial(measure_truth, source, plan))
        yield Unit(BOOSTING, seed, partial(measure_boosting, source, plan))
        for kind in plan.kinds:
            yield Unit(f"net/{kind}", seed, partial(measure_net, source, plan, kind))


def compare(
    source: Source,
    plan: ZooPlan,
    out: Path,
    part: tuple[int, int],
    progress: Progress,
    command: str,
) -> list[Table]:
    """Run what is not finished, and write ``zoo.json``, ``zoo.html`` and ``zoo.md``.

    Args:
        source: Data.
        plan: Sizes, seeds and budgets.
        out: Folder of results and report.
        part: Number of this process, from 1, and number of processes.
        progress: Progress display.
        command: The command line, for the report.

    Returns:
        The tables of the report.

    Raises:
        ResultsError: If the folder has results of another plan.
    """
    number, parts = part
    name = "raw" if parts == 1 else f"raw-{number}"
    store = RawStore(out, plan.fingerprint(source.name), name)
    run(share_of(units(source, plan), number, parts), store, progress)
    results = Results(store.done)
    tables = zoo_tables(results, source.tasks, plan.rate)
    quick = " A quick run: its figures are meaningless." if plan.preset == "quick" else ""
    seeds = sorted({seed for _, seed in store.done})
    made = datetime.now(UTC).isoformat(timespec="seconds")
    about = (
        f"{command}, {made}. Seeds {', '.join(map(str, seeds))}; at most {plan.sizes.train:,} "
        f"training rows, {plan.trials} trials for each net. Means over seeds \u00b1 half of the "
        f"95 % interval (t).{quick}"
    )
    (out / "zoo.json").write_bytes(
        orjson.dumps(
            {"about": about, "nets": zoo_json(results)},
            option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS,
        )
    )
    (out / "zoo.md").write_text(
        "\n\n".join([f"# Nets: {source.name}", about, *map(markdown_table, tables)]) + "\n"
    )
    body = "\n".join(map(html_table, tables))
    (out / "zoo.html").write_text(
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Weir: nets</title>"
        f"<style>{STYLE}</style><h1>Nets: {escape(source.name)}</h1><p>{escape(about)}</p>"
        f"{body}</html>\n"
    )
    return tables
