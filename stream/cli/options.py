"""Options and output that several subcommands share."""

from enum import StrEnum
from typing import Annotated, Any

import orjson
import typer


class WorkerRole(StrEnum):
    """Role of a worker process; each has a consumer group of its own."""

    INTERCEPT = "intercept"
    FEEDBACK = "feedback"


Rate = Annotated[
    float | None,
    typer.Option(
        help="Target share of requests to intercept, 0 to 1. Overrides policy.rate.",
    ),
]


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2))
