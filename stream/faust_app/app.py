"""Builds Weir's Faust apps from settings, watches their Kafka clients, and runs them."""

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
"""Maximum duration of a stop; orchestrators kill after 30 s (`stop_grace_period` in compose)."""

CHECK_S: Final = 1.0
#: If the group has had no coordinator for so long, the connection itself is checked.
NO_COORDINATOR_S: Final = 15.0


class ClientWatch(Service):  # type: ignore[misc]
    """Ends the process with errors that the Kafka client does not raise.

    A missing permission ends it at once. A connection that does not come back is checked every
    :data:`NO_COORDINATOR_S` seconds: while brokers are down the process waits, but a password or
    certificate that is not accepted any more ends it.

    Args:
        app: The app whose client is watched.
        settings: All settings.
        role: Role of the app, for the permissions it needs.
    """

    def __init__(self, app: faust.App, settings: Settings, role: Role) -> None:
        super().__init__()
        self._app = app
        self._kafka = settings.kafka
        self._rights = rights_of(role, settings)

    @Service.task  # type: ignore[untyped-decorator]
    async def _watch(self) -> None:
        missing_s = 0.0
        while not self.should_stop:
            await self.sleep(CHECK_S)
            self._raise_client_errors()
            missing_s = 0.0 if has_coordinator(self._app) else missing_s + CHECK_S
            if missing_s >= NO_COORDINATOR_S:
                missing_s = 0.0
                await self._check_connection()

    def _raise_client_errors(self) -> None:
        try:
            raise_client_errors(self._app)
        except Exception as error:
            refused = explain_authorization(error, self._kafka, self._rights)
            if refused is None:
                raise
            raise refused from error

    async def _check_connection(self) -> None:
        try:
            await reach(self._kafka)
        except ConnectionFaultError as fault:
            if not fault.transient:
                raise
            logger.warning("the group has had no coordinator for %g s: %s", NO_COORDINATOR_S, fault)


class DisklessApp(faust.App):  # type: ignore[misc]
    """A Faust app that writes no files.

    Args:
        settings: All settings.
        group: Name of its consumer group.
        role: Role of the app, for the permissions it needs.
    """

    def __init__(self, settings: Settings, group: str, role: Role) -> None:
        super().__init__(group, **faust_options(settings))
        self._all_settings, self._role = settings, role
        self._client_watch = ClientWatch(self, settings, role)

    def explain(self, error: BaseException) -> UserError | None:
        """The error that ended the app as one that names the fix; None if there is none."""
        return explain(error, self._all_settings, [self._role])

    def on_init_dependencies(self) -> Iterable[ServiceT]:
        """The services of Faust, and the watch of the Kafka client."""
        return [*super().on_init_dependencies(), self._client_watch]

    async def on_first_start(self) -> None:
        """Create no data directory."""


def faust_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments of ``faust.App`` for these settings."""
    kafka, worker = settings.kafka, settings.worker
    return app_options(
        bootstrap=kafka.bootstrap,
        session_timeout_s=kafka.session_timeout_s,
        max_chunk_records=worker.max_chunk_records,
        max_chunk_bytes=worker.max_chunk_bytes,
        credentials=_credentials(kafka),
    )


class _Worker(faust.Worker):  # type: ignore[misc]
    """Keeps the first reason of a crash, which causes the others, and stops within `STOP_S`.

    Services that stop wait for brokers, some without a limit. Exiting at once is safe at any
    moment: what is not committed is delivered again.
    """

    def _crash(self, reason: BaseException) -> None:
        _end_within(STOP_S, f"after {reason!r}")
        super()._crash(self.crash_reason or reason)

    def _schedule_shutdown(self, signal: Any) -> None:
        _end_within(STOP_S, f"after {signal.name}")
        super()._schedule_shutdown(signal)


def _end_within(seconds: float, why: str) -> None:
    """Exit after that time, even if the process is still waiting for something."""

    def exit_now() -> None:
        logger.error(
            "not stopped within %g s %s: exiting now; what is not committed is delivered again",
            seconds,
            why,
        )
        logging.shutdown()
        os._exit(1)

    timer = threading.Timer(seconds, exit_now)
    timer.daemon = True
    timer.start()


def run_app(app: DisklessApp) -> None:
    """Run ``app`` until SIGTERM or SIGINT.

    Raises:
        SystemExit: After a signal.
        UserError: The error that ended it, if it names a fix.
        Exception: Any other error that ended it.
    """
    worker = _Worker(app, loglevel=logging.getLogger().level, quiet=True, override_logging=False)
    worker.spinner = None  # it would write escape sequences to the terminal or the log
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
