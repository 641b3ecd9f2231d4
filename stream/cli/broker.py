"""`weir broker`: a Kafka broker on this machine, for development."""

import json
import signal
import threading
from pathlib import Path
from typing import Annotated

import typer

from stream.brokers.security import Mechanism, Security


def broker(
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Loopback port to listen on; 0 for a free port.")
    ] = 9092,
    folder: Annotated[
        Path,
        typer.Option(help="Folder for the broker's log, and for Apache Kafka's jars and data."),
    ] = Path("var/broker"),
    nodes: Annotated[
        int, typer.Option(min=1, help="Number of nodes in the cluster. Needs --kafka.")
    ] = 1,
    security: Annotated[
        Security,
        typer.Option(
            help="Whether clients have to log in (SASL), use TLS, or both. Needs --kafka."
        ),
    ] = Security.PLAINTEXT,
    mechanism: Annotated[
        Mechanism,
        typer.Option(help="SASL mechanism of the login, where there is one. Needs --kafka."),
    ] = Mechanism.SCRAM_SHA_512,
    *,
    acls: Annotated[
        bool,
        typer.Option(
            "--acls", help="Require ACLs of all users but the superuser 'weir'. Needs --kafka."
        ),
    ] = False,
    kafka: Annotated[
        bool,
        typer.Option(
            "--kafka",
            help="Run Apache Kafka instead of the embedded broker. Needs Java 17 and Maven.",
        ),
    ] = False,
) -> None:
    """Run a Kafka broker on this machine until Ctrl-C.

    The embedded broker keeps all records in memory and starts at once. With --kafka it is Apache
    Kafka, whose jars are fetched at the first start.
    """
    from stream.brokers.embedded import EmbeddedBroker  # noqa: PLC0415
    from stream.brokers.kafka_cluster import KafkaCluster  # noqa: PLC0415

    if not kafka and (nodes > 1 or acls or security is not Security.PLAINTEXT):
        raise typer.BadParameter("--nodes, --security and --acls need --kafka")
    stop = _stop_event()
    chosen = (
        KafkaCluster(folder, nodes, port, security, mechanism=mechanism, acls=acls)
        if kafka
        else EmbeddedBroker(folder / "embedded.log", port=port)
    )
    with chosen as running:
        if isinstance(running, KafkaCluster):
            typer.echo("# weir.toml for its clients\n[kafka]")
            for key, value in running.client.revealed().items():
                typer.echo(f"{key} = {json.dumps(value)}")
        typer.echo(f"the broker listens on {running.bootstrap}; stop it with Ctrl-C")
        stop.wait()


def _stop_event() -> threading.Event:
    """An event that Ctrl-C and SIGTERM set."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop
