"""The HTTP endpoint of a process: metrics for Prometheus, probes for an orchestrator.

``/metrics`` is the registry; ``/live`` answers 200 while all heartbeats are in time, ``/ready``
while all conditions are met, otherwise 503 with the reasons, one a line; everything else is 404.
It answers from threads of its own, so that a process that stands still shows.
"""

import logging
import os
import platform
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import (
    CollectorRegistry,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    make_wsgi_app,
)
from prometheus_client.exposition import ThreadingWSGIServer

from models.errors import UserError
from models.features.scanner import NATIVE
from models.process.health import Health

logger = logging.getLogger(__name__)

#: A client that sends no request for so long is disconnected.
SILENT_S: Final = 10.0
#: Where Linux says how much memory a container may take; "max" for no limit.
MEMORY_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")
#: What an image says of the commit that it was built from.
REVISION_VARIABLE: Final = "BUILD_REVISION"

Body = Iterable[bytes]
App = Callable[[WSGIEnvironment, StartResponse], Body]


class ProbeError(UserError, OSError):
    """The endpoint cannot be opened; names the address, the setting and the fix."""


def serve(
    registry: CollectorRegistry, health: Health, host: str, port: int, *, section: str = "worker"
) -> int:
    """Serve metrics and probes in a thread of their own, for as long as the process lives.

    Adds to the registry what every process shows: health, build, Python, processor and memory.

    Args:
        registry: Of the process's own metrics.
        health: What the probes ask.
        host: Address to listen on.
        port: Its port, 0 for a free one.
        section: Of the settings that name both, ``SECTION.metrics_host`` and ``_port``.

    Returns:
        The port.

    Raises:
        ProbeError: If the address cannot be had.
    """
    describe(registry, health)
    try:
        server = make_server(
            host, port, _app(registry, health), _server_class(host), handler_class=_Handler
        )
    except OSError as error:
        raise ProbeError(
            f"{section}.metrics_host, {section}.metrics_port: cannot listen on {host}:{port} "
            f"({error.strerror or error}); choose another port, or 0 for a free one"
        ) from error
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()
    logger.info("metrics and probes on http://%s:%d/metrics", host, server.server_port)
    if not NATIVE:
        logger.warning(
            "the compiled scanner is missing: features are extracted by Python, ten times "
            "slower; install Weir again where a C compiler and Python's headers are"
        )
    return int(server.server_port)


def describe(registry: CollectorRegistry, health: Health) -> None:
    """Register what every process shows: health, build, Python, processor and memory."""
    build = Gauge(
        "weir_build_info",
        "What runs: 1 for its version.",
        ["role", "version", "revision", "python", "scanner"],
        registry=registry,
    )
    build.labels(
        role=health.role,
        version=_version(),
        revision=os.environ.get(REVISION_VARIABLE, ""),
        python=platform.python_version(),
        scanner="compiled" if NATIVE else "python",
    ).set(1)
    scanner = Gauge(
        "weir_scanner_compiled",
        "1 if features are extracted by compiled code, 0 if by Python, ten times slower.",
        registry=registry,
    )
    scanner.set(NATIVE)
    limit = Gauge(
        "weir_memory_limit_bytes",
        "Memory that this process's container may take; 0 without a limit.",
        registry=registry,
    )
    limit.set(memory_limit())
    registry.register(health)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)


def memory_limit(path: Path = MEMORY_LIMIT) -> int:
    """Bytes that the container of this process may take; 0 where nothing limits it."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _version() -> str:
    try:
        return version("weir")
    except PackageNotFoundError:
        return "unknown"


def _app(registry: CollectorRegistry, health: Health) -> App:
    metrics: App = make_wsgi_app(registry)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Body:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            return metrics(environ, start_response)
        if path == "/ready":
            return _answer(start_response, "ready", health.unready())
        if path == "/live":
            stalled = {
                what: f"no progress for {seconds:.0f} s"
                for what, seconds in health.stalled().items()
            }
            return _answer(start_response, "live", stalled)
        return _text(start_response, "404 Not Found", "try /metrics, /live or /ready")

    return app


def _answer(start_response: StartResponse, good: str, faults: Mapping[str, str]) -> Body:
    if not faults:
        return _text(start_response, "200 OK", good)
    lines = [f"{what}: {reason}" for what, reason in faults.items()]
    return _text(start_response, "503 Service Unavailable", "\n".join(lines))


def _text(start_response: StartResponse, status: str, text: str) -> Body:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode() + b"\n"]


class _Handler(WSGIRequestHandler):
    timeout = SILENT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Log nothing: probes come every few seconds."""


def _server_class(host: str) -> type[ThreadingWSGIServer]:
    family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]

    class Server(ThreadingWSGIServer):
        address_family = family

    return Server
