"""`weir report`: what a replay says, as a page, as JSON, and as a check."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from models.process.logs import one_line
from models.settings import Settings

MARGIN: Final = 1.0

FailIf = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-if",
        help="End with status 1 if this holds, or if the log cannot say whether it does: "
        "'deal.kept < -0.5' is a loss of more than 0.5 % of the deals. May be repeated.",
        metavar="CONDITION",
    ),
]
Margin = Annotated[
    float,
    typer.Option(min=0.0, max=100.0, help="Percent of a task's events that a change may cost."),
]


def report(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder that `weir replay` wrote.")],
    fail_if: FailIf = None,
    margin: Margin = MARGIN,
) -> None:
    """Report on a replay: what would change, for whom, how sure that is, and a verdict.

    Writes report.html and report.json into the folder of the replay and prints the verdict.

    Ends with status 1 if a condition of --fail-if holds or cannot be judged.
    """
    if not print_report(ctx.obj, folder, fail_if or [], margin=margin):
        sys.exit(1)


def print_report(
    settings: Settings,
    folder: Path,
    fail_if: list[str],
    *,
    margin: float = MARGIN,
    err: bool = False,
) -> bool:
    """Write the report of a replay and print its verdicts and checks.

    Args:
        settings: Settings of the replay.
        folder: Its folder.
        fail_if: Conditions.
        margin: Percent of a task's events that a change may cost.
        err: Whether to print on standard error.

    Returns:
        Whether all checks held.

    Raises:
        ReportError: If no report can be made of the folder.
        CheckError: If a condition cannot be read.
    """
    from stream.replay.folder import ReplayFolder  # noqa: PLC0415 - slow to import
    from stream.report import build_report, write_report  # noqa: PLC0415

    found = build_report(ReplayFolder(folder), settings.task_set, fail_if=fail_if, margin=margin)
    write_report(folder, found)
    say = partial(typer.echo, err=err)
    for one in found.comparisons:
        say(one_line(f"{one.arm} against {one.base}: {one.verdict}. {one.why}"))
    if not found.comparisons:
        say("Nothing to compare: replay with --against, or with logged decisions.")
    for check in found.checks:
        result = "FAIL" if check.failed else "ok"
        say(one_line(f"{result:<5}{check.arm}: {check.expression}: {check.why}"))
    say(one_line(f"report: {folder / 'report.html'}"))
    return not any(check.failed for check in found.checks)
