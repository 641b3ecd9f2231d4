"""What `weir model` prints for people."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import orjson
import typer

from stream.cli.options import print_json
from stream.cli.tables import as_text, print_table
from stream.versions.catalog import moment
from stream.versions.decided import Decided

#: Rows of a table that a file of the registry gives.
MAX_ROWS = 200
#: Figures of a task, in the order of the columns.
FIGURES = ("rows", "positives", "auc_roc", "auc_pr", "log_loss", "ece")


def print_version(found: dict[str, Any]) -> None:
    """What :meth:`stream.versions.catalog.Catalog.show` found."""
    manifest = found["manifest"]
    training = manifest["training"]
    facts = {
        "version": found["version"],
        "serving": found["serving"],
        "created": manifest["created"],
        "url": found["url"],
        "bytes": found["bytes"],
        "sha256": found["manifest_sha256"],
        "signed": found["signed"],
        "spec": manifest["spec_hash"],
        "seed": manifest["seed"],
        "rows": f"{training['rows']} labelled, {training['unlabelled_rows']} unlabelled, "
        f"{training['held_out_rows']} held out",
        "requests": f"{moment(training['ts_min'])} to {moment(training['ts_max'])}",
    }
    print_table(["", ""], [[name, value] for name, value in facts.items() if value is not None])
    typer.echo()
    metrics = manifest["metrics"]["student"]
    print_table(
        ["task", "population", "window_s", "label rate", *FIGURES],
        [
            [
                task["name"],
                task["population"],
                task["window_s"],
                manifest["label_rates"].get(task["name"]),
                *(metrics.get(task["name"], {}).get(name) for name in FIGURES),
            ]
            for task in manifest["tasks"]
        ],
    )
    if found["gates"] is not None:
        typer.echo()
        _print_gates(found["gates"])
    typer.echo()
    print_history(found["announced"])


def print_history(rows: Sequence[dict[str, Any]]) -> None:
    """Announcements as :func:`stream.versions.catalog.entry` describes them."""
    if not rows:
        typer.echo("never announced")
        return
    names = (
        "from",
        "until",
        "version",
        "role",
        "share",
        "cause",
        "by",
        "previous",
        "offset",
        "reason",
    )
    print_table(names, [[row[name] for name in names] for row in rows])


def print_difference(found: dict[str, Any]) -> None:
    """What :func:`stream.versions.compare.compare` found."""
    one, other = found["versions"]
    print_table(
        ["task", "figure", one, other, "difference"],
        [
            [task, name, *pair, _difference(*pair)]
            for task, figures in found["metrics"].items()
            for name, pair in figures.items()
        ],
    )
    typer.echo()
    print_table(["", one, other], [[name, *pair] for name, pair in found["manifest"].items()])
    changes = {kind: names for kind, names in found["features"].items() if names}
    for kind, names in changes.items():
        typer.echo(f"features {kind}: {as_text(', '.join(names))}")
    if not changes:
        typer.echo("the features are the same")


def print_runs(decided: Decided, *, json: bool) -> None:
    """Which version decided, per partition."""
    rows = [
        asdict(run) | {"since": moment(run.since), "until": moment(run.until)}
        for _, runs in sorted(decided.runs.items())
        for run in runs
    ]
    if json:
        print_json({"runs": rows, "unreadable": decided.unreadable, "left_out": decided.left_out})
        return
    names = ("partition", "version", "since", "until", "requests", "first", "last")
    for row in rows:
        row["version"] = row["version"] or "(no model)"
    print_table(names, [[row[name] for name in names] for row in rows])
    if decided.unreadable:
        typer.echo(f"{decided.unreadable} records have no readable decision", err=True)
    if decided.left_out:
        typer.echo(f"{decided.left_out} older runs are left out", err=True)


def _difference(one: Any, other: Any) -> float | None:
    numbers = all(isinstance(value, int | float) for value in (one, other))
    return other - one if numbers else None


def _print_gates(gates: Any) -> None:
    """The verdicts as they are in the file: single values, then lists of objects as tables."""
    if not isinstance(gates, dict):
        gates = {"gates": orjson.dumps(gates).decode()}
    print_table(["gates", ""], [[name, value] for name, value in gates.items() if _single(value)])
    for value in gates.values():
        if isinstance(value, list) and all(isinstance(row, dict) for row in value):
            rows = value[:MAX_ROWS]
            names = dict.fromkeys(name for row in rows for name in row if _single(row[name]))
            print_table(list(names), [[row.get(name) for name in names] for row in rows])


def _single(value: Any) -> bool:
    return not isinstance(value, dict | list)
