"""How Weir's Faust apps are built from settings and run: one way for both workers."""

import logging
from typing import Any

import faust
from faust.types.auth import CredentialsT

from models.kafka import ssl_context
from models.settings import KafkaSettings, Settings
from stream.transport import app_options


class DisklessApp(faust.App):  # type: ignore[misc]
    """A Faust app that writes no files: its tables live in memory and in their changelog."""

    async def on_first_start(self) -> None:
        """Make no data directory."""


def faust_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments of ``faust.App`` for these settings."""
    kafka, worker = settings.kafka, settings.worker
    return app_options(
        bootstrap=kafka.bootstrap,
        session_timeout_s=kafka.session_timeout_s,
        max_chunk_records=worker.max_chunk_records,
        max_chunk_bytes=worker.max_chunk_bytes,
        credentials=_credentials(kafka),
        partitions=kafka.partitions,
        replication=kafka.replication,
    )


def run_app(app: faust.App) -> None:
    """Run ``app`` until SIGTERM or SIGINT; a failure ends the process with a non-zero status."""
    worker = faust.Worker(app, loglevel=logging.getLogger().level, quiet=True)
    worker.execute_from_commandline()  # ends with SystemExit


def _credentials(kafka: KafkaSettings) -> CredentialsT | None:
    context = None
    if kafka.security_protocol in {"SSL", "SASL_SSL"}:
        context = ssl_context(kafka)
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=kafka.sasl_username,
            password=kafka.sasl_password,
            ssl_context=context,
            mechanism=kafka.sasl_mechanism,
        )
    return faust.SSLCredentials(context) if context else None
