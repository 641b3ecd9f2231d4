"""How Weir's Faust apps are built from settings, watched and run: one way for both workers."""

import logging
import os
import threading
from collections.abc import Iterable
from typing import Any, Final

import faust
from faust.types.auth import CredentialsT
from mode import Service, ServiceT

from models.errors import UserError
from models.settings import KafkaSettings, Settings
from stream.kafka.client import client_options
from stream.kafka.connection import ConnectionFaultError, reach
from stream.kafka.faults import explain
from stream.kafka.rights import Role, explain_authorization, rights_of
from stream.transport import app_options, has_coordinator, raise_client_errors

logger = logging.getLogger(__name__)

STOP_S: Final = 25.0
"""Longest that a stop may take; orchestrators kill after 30 (`stop_grace_period` in compose)."""

WATCH_S: Final = 1.0
#: So long a group may be without a coordinator before the connection itself is looked at.
ALONE_S: Final = 15.0


class ClientWatch(Service):  # type: ignore[misc]
    """Ends the process with what the Kafka client met and keeps to itself.

    A right that is missing ends it at once. A connection that does not come back is looked at every
    :data:`ALONE_S` seconds: a broker that is down is waited for, a password or a certificate that
    is not accepted any more is the end.

    Args:
        app: The app whose client is watched.
        settings: All settings.
        role: What the app does.
    """

    def __init__(self, app: faust.App, settings: Settings, role: Role) -> None:
        super().__init__()
        self._app = app
        self._kafka = settings.kafka
        self._rights = rights_of(role, settings)

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch(self) -> None:
        alone_s = 0.0
        while not self.should_stop:
            await self.sleep(WATCH_S)
            self._ask()
            alone_s = 0.0 if has_coordinator(self._app) else alone_s + WATCH_S
            if alone_s >= ALONE_S:
                alone_s = 0.0
                await self._look()

    def _ask(self) -> None:
        try:
            raise_client_errors(self._app)
        except Exception as error:
            refused = explain_authorization(error, self._kafka, self._rights)
            if refused is None:
                raise
            raise refused from error

    async def _look(self) -> None:
        try:
            await reach(self._kafka)
        except ConnectionFaultError as fault:
            if not fault.transient:
                raise
            logger.warning("no coordinator of the group for %g s: %s", ALONE_S, fault)


class DisklessApp(faust.App):  # type: ignore[misc]
    """A Faust app that writes no files: its tables live in memory and in their changelog.

    Args:
        settings: All settings.
        group: Its consumer group.
        role: What it does.
    """

    def __init__(self, settings: Settings, group: str, role: Role) -> None:
        super().__init__(group, **faust_options(settings))
        self._all_settings, self._role = settings, role
        self._client_watch = ClientWatch(self, settings, role)

    def explain(self, error: BaseException) -> UserError | None:
        """What ended the app, where a person can mend it."""
        return explain(error, self._all_settings, [self._role])

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """The watch, and what Faust starts."""
        return [*super().on_init_dependencies(), self._client_watch]

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


class _Worker(faust.Worker):  # type: ignore[misc]
    """Keeps the first reason of a crash; those after it come of it. Ends within `STOP_S`.

    What is stopped waits for brokers, and some of it for ever where there are none. Ending at once
    is safe at any moment: what is not committed comes again.
    """

    def _crash(self, reason: BaseException) -> None:
        _end_within(STOP_S, f"after {reason!r}")
        super()._crash(self.crash_reason or reason)

    def _schedule_shutdown(self, signal: Any) -> None:
        _end_within(STOP_S, f"after {signal.name}")
        super()._schedule_shutdown(signal)


def _end_within(seconds: float, why: str) -> None:
    """Have the process end by then, whatever it is waiting for."""

    def give_up() -> None:
        logger.error(
            "not stopped within %g s %s: ending at once; what is not committed comes again",
            seconds,
            why,
        )
        logging.shutdown()
        os._exit(1)

    timer = threading.Timer(seconds, give_up)
    timer.daemon = True
    timer.start()


def run_app(app: DisklessApp) -> None:
    """Run ``app`` until SIGTERM or SIGINT.

    Raises:
        SystemExit: At an end that was asked for.
        UserError: What ended it, where a person can mend it.
        Exception: What ended it otherwise.
    """
    worker = _Worker(app, loglevel=logging.getLogger().level, quiet=True, override_logging=False)
    worker.spinner = None  # it writes escape sequences to the terminal, or the log
    try:
        worker.execute_from_commandline()  # ends with SystemExit
    except SystemExit as end:
        reason = end.__context__
        if not end.code or not isinstance(reason, Exception):
            logger.info("stopped")
            raise
        raise app.explain(reason) or reason from None


def _credentials(kafka: KafkaSettings) -> CredentialsT | None:
    options = client_options(kafka)
    context = options.get("ssl_context")
    if provider := options.get("sasl_oauth_token_provider"):
        return faust.OAuthCredentials(oauth_cb=provider, ssl_context=context)
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=options["sasl_plain_username"],
            password=options["sasl_plain_password"],
            ssl_context=context,
            mechanism=options["sasl_mechanism"],
        )
    return faust.SSLCredentials(context) if context else None
