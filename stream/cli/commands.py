"""Subcommands of `weir` on the bus: broker, topics, worker, verify, replay, demo, and groups."""

import asyncio
import json
import signal
import sys
import threading
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console

from models.settings import Settings
from stream.brokers.security import Mechanism, Security
from stream.cli import offsets, steering
from stream.cli.doctor import doctor

#: With --rebuild traffic goes on until a rebuilt model serves; this many requests are the end.
REBUILD_REQUESTS = 200_000


class Role(StrEnum):
    """What a worker process does."""

    INTERCEPT = "intercept"
    FEEDBACK = "feedback"


def register(app: typer.Typer) -> None:
    """Add the subcommands to ``app``."""
    for command in (broker, topics, worker, verify, replay, demo, doctor):
        app.command()(command)
    for group in (steering.rate, steering.policy, offsets.offsets):
        app.add_typer(group)


def broker(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Loopback port; 0 takes a free one.")
    ] = 9092,
    folder: Annotated[Path, typer.Option(help="Folder of the log, and of Kafka's files.")] = Path(
        "var/broker"
    ),
    nodes: Annotated[int, typer.Option(min=1, help="Nodes of the cluster; needs --kafka.")] = 1,
    security: Annotated[
        Security, typer.Option(help="Whether clients log in, encrypt, or both; needs --kafka.")
    ] = Security.PLAINTEXT,
    mechanism: Annotated[
        Mechanism, typer.Option(help="How clients log in, where they do; needs --kafka.")
    ] = Mechanism.SCRAM_SHA_512,
    *,
    acls: Annotated[
        bool, typer.Option("--acls", help="Only the user weir may do anything; needs --kafka.")
    ] = False,
    kafka: Annotated[
        bool, typer.Option("--kafka", help="Run Apache Kafka; needs Java 17 and Maven.")
    ] = False,
) -> None:
    """Run a broker on this machine until Ctrl-C.

    The embedded one keeps everything in memory only; --kafka runs Apache Kafka.
    """
    from stream.brokers.embedded import EmbeddedBroker  # noqa: PLC0415
    from stream.brokers.kafka_cluster import KafkaCluster  # noqa: PLC0415

    if not kafka and (nodes > 1 or acls or security is not Security.PLAINTEXT):
        raise typer.BadParameter("--nodes, --security and --acls are for --kafka")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    chosen = (
        KafkaCluster(folder, nodes, port, security, mechanism=mechanism, acls=acls)
        if kafka
        else EmbeddedBroker(folder / "embedded.log", port=port)
    )
    with chosen as running:
        if isinstance(running, KafkaCluster):
            typer.echo("# weir.toml of its clients\n[kafka]")
            for key, value in running.client.revealed().items():
                typer.echo(f"{key} = {json.dumps(value)}")
        typer.echo(f"the broker serves on {running.bootstrap}; Ctrl-C ends it")
        stop.wait()


def topics(
    ctx: typer.Context,
    add_partitions: Annotated[
        int | None,
        typer.Option(
            min=1, help="Add so many partitions to the requests' topic and its outputs instead."
        ),
    ] = None,
) -> None:
    """Create the topics that are missing."""
    from stream.kafka import partitions  # noqa: PLC0415
    from stream.kafka.topics import ensure_topics  # noqa: PLC0415

    settings: Settings = ctx.obj
    if add_partitions is not None:
        counts = asyncio.run(
            partitions.add_partitions(settings.kafka, settings.topics, add_partitions)
        )
        for topic, count in counts.items():
            typer.echo(f"{topic}: {count} partitions")
        return
    created = asyncio.run(ensure_topics(settings.kafka, settings.topics))
    typer.echo(f"created: {', '.join(created)}" if created else "every topic exists")


def worker(
    ctx: typer.Context,
    role: Annotated[
        Role, typer.Option(help="Intercept requests, or join passed ones with outcomes.")
    ] = (Role.INTERCEPT),
    rate: Annotated[float | None, typer.Option(help="Target share to intercept, 0 to 1.")] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Port of the Prometheus endpoint; 0 takes a free one.")
    ] = None,
) -> None:
    """Run one worker process until SIGTERM or Ctrl-C."""
    settings: Settings = ctx.obj.override(
        {"policy.rate": rate, "worker.metrics_port": metrics_port}
    )
    if role is Role.FEEDBACK:
        from stream.feedback.worker import run_feedback  # noqa: PLC0415

        run_feedback(settings)
    else:
        from stream.intercept.worker import run_worker  # noqa: PLC0415

        run_worker(settings)


def verify(ctx: typer.Context) -> None:
    """Account for every request on the topics.

    It reads them from outside, as downstream does; workers should be at rest.

    Ends with status 1 unless every request is on one output topic, once, unchanged, in order, and
    the group's offsets are committed.
    """
    from stream.verify.verifier import account  # noqa: PLC0415

    found = asyncio.run(account(ctx.obj))
    for fault in found.faults:
        typer.echo(fault, err=True)
    for remark in found.remarks():
        typer.echo(f"note: {remark}", err=True)
    typer.echo(orjson.dumps(found.summary(), option=orjson.OPT_INDENT_2))
    if not found.exact:
        sys.exit(1)


def replay(
    ctx: typer.Context,
    source: Annotated[
        str, typer.Argument(help="A .jsonl or .parquet file of requests, or the name of a topic.")
    ],
    out: Annotated[Path, typer.Option(help="New folder for decisions and summary.")] = Path(
        "var/replay"
    ),
    artifact: Annotated[
        str | None, typer.Option(help="Artifact: a folder, a URL, or pretrained:NAME.")
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Target share to intercept, 0 to 1.")] = None,
    outcomes: Annotated[
        str | None, typer.Option(help="Outcomes: a .jsonl file, or the name of a topic.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Start of the range of a topic (ISO 8601 or epoch ms)."),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="End of the range, exclusive (ISO 8601 or epoch ms).")
    ] = None,
    chunk_size: Annotated[
        int, typer.Option(min=1, help="Records per chunk; decisions do not depend on it.")
    ] = 1000,
) -> None:
    """Decide historical requests as a worker would.

    They go through the worker's own code; decisions and a summary are written.
    """
    from stream.replay.replay import ReplayOptions, run_replay  # noqa: PLC0415

    settings = ctx.obj.override({"policy.rate": rate, "model.artifact": artifact})
    options = ReplayOptions(source, out, outcomes, start, end, chunk_size)
    with Console(stderr=True).status(f"replaying {source}") as status:
        summary = asyncio.run(
            run_replay(
                settings, options, lambda done: status.update(f"replayed {done:,} of {source}")
            )
        )
    typer.echo(orjson.dumps(summary, option=orjson.OPT_INDENT_2))


def demo(
    ctx: typer.Context,
    rate: Annotated[float | None, typer.Option(help="Target share to intercept, 0 to 1.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Intercept workers.")] = 2,
    requests: Annotated[int, typer.Option(min=1, help="Simulated requests.")] = 48_000,
    pace: Annotated[float, typer.Option(help="Simulated requests per second.")] = 1200.0,
    backlog: Annotated[
        int | None, typer.Option(help="Publish this many first, then start the workers.")
    ] = None,
    jd: Annotated[
        Path | None, typer.Option(help="Folder of the JD.com requests to publish instead.")
    ] = None,
    *,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="Train on what comes in, and swap the model.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the simulated traffic.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for logs and summary.")] = Path("var/demo"),
    summary: Annotated[Path | None, typer.Option(help="Write the summary here too.")] = None,
) -> None:
    """Show everything at once for a minute.

    Broker, traffic, workers, feedback; then it accounts for every request.

    Ends with status 1 if a request is missing or doubled, or the rate misses its target.
    """
    from stream.demo.demo import Demo, DemoOptions  # noqa: PLC0415
    from stream.replay.replay import write_summary  # noqa: PLC0415

    options = DemoOptions(
        folder=out,
        workers=workers,
        requests=backlog or (REBUILD_REQUESTS if rebuild else requests),
        requests_per_second=pace,
        backlog=backlog is not None,
        jd=jd,
        rebuild=rebuild,
        seed=seed,
    )
    settings = ctx.obj.override({"policy.rate": rate})
    found = asyncio.run(Demo(settings, options, Console(stderr=True)).run())
    if summary is not None:
        write_summary(summary, found)
    typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    if not found["ok"]:
        sys.exit(1)
