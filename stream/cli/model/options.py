"""Options that the commands of `weir model` share, and what they read first."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from models.settings import Settings

if TYPE_CHECKING:
    from stream.versions.catalog import Catalog

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Version = Annotated[str, typer.Argument(help="Name of a version in the registry.")]


def catalog_of(settings: Settings) -> "Catalog":
    """The registry, and what was announced of it."""
    from stream.versions.catalog import Catalog  # noqa: PLC0415

    return asyncio.run(Catalog.read(settings))
