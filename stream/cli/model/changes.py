"""The commands of `weir model` that change something: registry, announcements, keys."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from models.settings import Settings
from stream.cli.model.options import Json, Version, catalog_of
from stream.cli.options import print_json
from stream.cli.tables import print_table

#: The values of ``ModelRole``, which costs an import that `weir --help` need not pay for.
Role = Literal["serve", "canary", "shadow"]
Reason = Annotated[str, typer.Option(help="Why, for the history that people read.", metavar="TEXT")]
By = Annotated[
    str,
    typer.Option(
        help="Who announces it, for the history. Default: the user of this process.",
        metavar="NAME",
    ),
]


def model_publish(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Folder of an artifact, as `weir train` makes.")],
    *,
    json: Json = False,
) -> None:
    """Copy an artifact into the registry, signed if model.signing_key is set.

    Workers load it once it is announced: `weir model promote`.
    """
    from models.artifact import read_manifest  # noqa: PLC0415
    from models.artifact.registry import Registry  # noqa: PLC0415

    registry = Registry.of(ctx.obj.model, signing=True)
    version = read_manifest(str(folder)).version
    url = registry.publish(folder, version)
    _print_done(json, {"version": version, "url": url}, f"published {version}: {url}")


def model_promote(
    ctx: typer.Context, version: Version, reason: Reason = "", by: By = "", *, json: Json = False
) -> None:
    """Make a version serve: verify it, and announce it to all workers."""
    _promote(ctx.obj, version, reason, by, again=False, json=json)


def model_announce(
    ctx: typer.Context,
    version: Version,
    role: Annotated[
        Role,
        typer.Option(
            help="serve: decides all requests. canary: decides those of a share of the partitions. "
            "shadow: scores a share of the requests, and decides none."
        ),
    ] = "serve",
    share: Annotated[
        float,
        typer.Option(min=0.000001, max=1.0, help="The share of a canary or shadow."),
    ] = 0.1,
    reason: Reason = "",
    by: By = "",
    *,
    json: Json = False,
) -> None:
    """Announce a version in a role, even if it serves already.

    A canary or shadow ends with the next announcement of its role, or of a version that is to
    serve: announce the serving version again to end it.
    """
    _promote(ctx.obj, version, reason, by, again=True, json=json, role=role, share=share)


def model_rollback(
    ctx: typer.Context,
    to: Annotated[
        str | None,
        typer.Option(help="Go back to this version that served earlier.", metavar="VERSION"),
    ] = None,
    reason: Reason = "",
    by: By = "",
    *,
    json: Json = False,
) -> None:
    """Go back to the version that served before, and say which that is.

    A second rollback goes further back. The next rebuild of the trainer replaces the version again
    if it passes its gates.
    """
    from stream.messages.models_topic import announcer  # noqa: PLC0415
    from stream.versions.promotion import roll_back  # noqa: PLC0415

    done = asyncio.run(roll_back(catalog_of(ctx.obj), to, by=announcer(by), reason=reason))
    what = f"{done['version']} serves again, instead of {done['previous']}"
    _print_done(json, done, f"{what} (offset {done['offset']})")


def model_gc(
    ctx: typer.Context,
    keep: Annotated[
        int, typer.Option(min=1, help="Keep this many of the newest versions in any case.")
    ] = 10,
    older_than: Annotated[
        float,
        typer.Option(
            min=0,
            help="Remove only versions that were made and last served more than this many days "
            "ago.",
            metavar="DAYS",
        ),
    ] = 30.0,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be removed, and remove nothing.")
    ] = False,
    json: Json = False,
) -> None:
    """Remove old versions from the registry.

    Never removed: what serves or served within the given time, what takes over where that fails or
    by a rollback, and model.artifact.
    """
    from stream.versions.retention import plan  # noqa: PLC0415

    catalog = catalog_of(ctx.obj)
    fates = list(plan(catalog, keep, older_than, int(time.time() * 1000)))
    sizes = {fate.version: catalog.registry.size(fate.version) for fate in fates}
    if not dry_run:
        for fate in fates:
            if fate.kept is None:
                catalog.registry.remove(fate.version)
    removed = [fate.version for fate in fates if fate.kept is None]
    freed = sum(sizes[version] for version in removed)
    kept = {fate.version: str(fate.kept) for fate in fates if fate.kept is not None}
    if json:
        print_json({"done": not dry_run, "removed": removed, "bytes": freed, "kept": kept})
        return
    word = "would be removed" if dry_run else "removed"
    print_table(
        ["version", "KiB", ""],
        [
            [f.version, sizes[f.version] // 1024, word if f.kept is None else f"kept: {f.kept}"]
            for f in fates
        ],
    )
    typer.echo(f"{len(removed)} {word}, {freed / 1e6:.1f} MB")


def model_keygen(
    file: Annotated[Path, typer.Argument(help="File of the private key; it must not exist.")],
) -> None:
    """Make an Ed25519 key that signs versions; its public key goes to FILE.pub."""
    from models.artifact.signature import make_keys  # noqa: PLC0415

    public, fingerprint = make_keys(file)
    typer.echo(f"model.signing_key = {str(file)!r}, where versions are published")
    typer.echo(f"model.public_key = {str(public)!r}, everywhere (key {fingerprint})")


def model_sign(ctx: typer.Context, version: Version) -> None:
    """Sign a version that was published without model.signing_key, or with another key."""
    from models.artifact.registry import Registry  # noqa: PLC0415

    key = Registry.of(ctx.obj.model, signing=True).sign(version)
    typer.echo(f"signed {version} with key {key}")


def _promote(
    settings: Settings,
    version: str,
    reason: str,
    by: str,
    *,
    again: bool,
    json: bool,
    role: Role = "serve",
    share: float = 1.0,
) -> None:
    from stream.messages import ModelRole  # noqa: PLC0415
    from stream.messages.models_topic import announcer  # noqa: PLC0415
    from stream.versions.promotion import promote  # noqa: PLC0415

    catalog = catalog_of(settings)
    announcing = promote(
        *(catalog, version),
        by=announcer(by),
        reason=reason,
        again=again,
        role=ModelRole(role),
        share=share,
    )
    done = asyncio.run(announcing)
    instead = f", instead of {done['previous']}" if done["previous"] != version else ""
    if role != "serve":
        instead = f" as {role} with a share of {share:g}, beside {done['previous']}"
    _print_done(json, done, f"announced {version}{instead} (offset {done['offset']})")


def _print_done(json: bool, done: dict[str, Any], text: str) -> None:
    if json:
        print_json(done)
    else:
        typer.echo(text)


CHANGES: Final[dict[str, Callable[..., None]]] = {
    "publish": model_publish,
    "promote": model_promote,
    "announce": model_announce,
    "rollback": model_rollback,
    "gc": model_gc,
    "keygen": model_keygen,
    "sign": model_sign,
}
"""The commands by name."""
