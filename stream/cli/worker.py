"""`weir worker`: a worker process."""

from typing import Annotated

import typer

from models.settings import Settings
from stream.cli.options import Rate, WorkerRole


def worker(
    ctx: typer.Context,
    role: Annotated[
        WorkerRole,
        typer.Option(
            help="'intercept' decides which requests pass; 'feedback' makes training examples of "
            "those that passed."
        ),
    ] = WorkerRole.INTERCEPT,
    rate: Rate = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(
            help="Port of the HTTP endpoint with Prometheus metrics and health; 0 for a free port. "
            "Overrides worker.metrics_port."
        ),
    ] = None,
    trace: Annotated[
        str | None,
        typer.Option(
            help="File, or URL of an OpenTelemetry collector, to which the intercept worker writes "
            "how long each chunk took, phase by phase; `weir trace summary FILE` reads it. "
            "Overrides worker.trace."
        ),
    ] = None,
) -> None:
    """Run one worker process until SIGTERM or Ctrl-C."""
    settings: Settings = ctx.obj.override(
        {"policy.rate": rate, "worker.metrics_port": metrics_port, "worker.trace": trace}
    )
    if role is WorkerRole.FEEDBACK:
        from stream.feedback.worker import run_feedback  # noqa: PLC0415

        run_feedback(settings)
    else:
        from stream.intercept.worker import run_worker  # noqa: PLC0415

        run_worker(settings)
