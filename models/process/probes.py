"""The HTTP endpoint of a process: metrics for Prometheus, probes for an orchestrator.

``/metrics`` serves the registry. ``/live`` returns 200 while all heartbeats are recent, ``/ready``
while all conditions are met; otherwise 503 with one reason per line. Any other path is 404.
Requests are served by separate threads, so that a blocked process is detected.
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

#: Seconds after which a client that sends no request is disconnected.
CLIENT_TIMEOUT_S: Final = 10.0
#: File in which Linux gives the memory limit of a container; "max" for none.
MEMORY_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")
#: Environment variable in which an image names the commit that it was built from.
REVISION_VARIABLE: Final = "BUILD_REVISION"

Body = Iterable[bytes]
App = Callable[[WSGIEnvironment, StartResponse], Body]


class ProbeError(UserError, OSError):
    """The endpoint cannot be opened; the message names the address, the setting and the fix."""


def serve(
    registry: CollectorRegistry, health: Health, host: str, port: int, *, section: str = "worker"
) -> int:
    """Serve metrics and probes in a separate thread until the process exits.

    Adds the metrics that every process has: health, build, Python, CPU and memory.

    Args:
        registry: Registry of the process's own metrics.
        health: State that the probes report.
        host: Address to listen on.
        port: Port to listen on, 0 for a free one.
        section: Section of the settings that has ``metrics_host`` and ``metrics_port``.

    Returns:
        The port.

    Raises:
        ProbeError: If the address cannot be bound.
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
    logger.info("serving metrics and probes on http://%s:%d/metrics", host, server.server_port)
    if not NATIVE:
        logger.warning(
            "the compiled scanner is missing: features are extracted in Python, ten times slower; "
            "install a C compiler and Python's headers, then install Weir again"
        )
    return int(server.server_port)


def describe(registry: CollectorRegistry, health: Health) -> None:
    """Register the metrics that every process has: health, build, Python, CPU and memory."""
    build = Gauge(
        "weir_build_info",
        "Version of the running process; always 1.",
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
        "1 if the compiled scanner extracts features, 0 if Python does, ten times slower.",
        registry=registry,
    )
    scanner.set(NATIVE)
    limit = Gauge(
        "weir_memory_limit_bytes",
        "Memory limit of this process's container; 0 if there is none.",
        registry=registry,
    )
    limit.set(memory_limit())
    registry.register(health)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)


def memory_limit(path: Path = MEMORY_LIMIT) -> int:
    """Memory limit of this process's container in bytes; 0 if there is none."""
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
                activity: f"no progress for {seconds:.0f} s"
                for activity, seconds in health.stalled().items()
            }
            return _answer(start_response, "live", stalled)
        return _text(start_response, "404 Not Found", "try /metrics, /live or /ready")

    return app


def _answer(start_response: StartResponse, good: str, faults: Mapping[str, str]) -> Body:
    if not faults:
        return _text(start_response, "200 OK", good)
    lines = [f"{name}: {reason}" for name, reason in faults.items()]
    return _text(start_response, "503 Service Unavailable", "\n".join(lines))


def _text(start_response: StartResponse, status: str, text: str) -> Body:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode() + b"\n"]


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Log nothing: probes are requested every few seconds."""


def _server_class(host: str) -> type[ThreadingWSGIServer]:
    family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]

    class Server(ThreadingWSGIServer):
        address_family = family

    return Server
