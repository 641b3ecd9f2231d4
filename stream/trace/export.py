"""Where spans go: a file with a line of OTLP for every few spans, or a collector's URL."""

import logging
import queue
import threading
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.client import HTTPException
from io import BufferedWriter
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from models.errors import UserError
from stream.trace.otlp import encode
from stream.trace.span import Attribute, Span

logger = logging.getLogger(__name__)

#: Spans that are encoded together, in about a millisecond.
TOGETHER: Final = 256
#: A file that has reached this size gets no more spans.
MAX_FILE_BYTES: Final = 1 << 30
#: Requests to a collector that wait; further ones are dropped.
MAX_WAITING: Final = 64
TIMEOUT_S: Final = 5.0
_PATH: Final = "/v1/traces"


class Target(Protocol):
    """Takes encoded spans; never blocks for long and never raises."""

    def write(self, request: bytes, spans: int) -> None:
        """Take a request with so many spans."""

    def close(self) -> None:
        """Finish."""


class Exporter:
    """Collects spans, encodes some of them at a time, and gives them to its target.

    Args:
        target: Takes them.
        service: Attributes of the process.
    """

    def __init__(self, target: Target, service: Mapping[str, Attribute]) -> None:
        self._target = target
        self._service = service
        self._spans: list[Span] = []
        self._ended = False

    def __call__(self, spans: Sequence[Span]) -> None:
        """Take finished spans; after `end`, none."""
        if self._ended:
            return
        self._spans += spans
        if len(self._spans) >= TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Encode and pass on what was collected."""
        spans, self._spans = self._spans, []
        if spans:
            self._target.write(encode(self._service, spans), len(spans))

    def end(self) -> None:
        """Pass on the rest, and take no more spans; call it where spans are made."""
        self.flush()
        self._ended = True

    def close(self) -> None:
        """Finish, after `end`; this may take :data:`TIMEOUT_S`, so call it in a thread."""
        self._target.close()


class FileTarget:
    """Appends requests to a file, up to :data:`MAX_FILE_BYTES`.

    Args:
        path: The file; it is made anew.

    Raises:
        UserError: If it cannot be written.
    """

    def __init__(self, path: Path, limit: int = MAX_FILE_BYTES) -> None:
        self._path = path
        self._left = limit
        try:
            self._file: BufferedWriter | None = path.open("wb")
        except OSError as error:
            raise UserError(f"--trace {path}: {error.strerror or error}") from error

    def write(self, request: bytes, spans: int) -> None:
        """Append a request; a full disk or file ends the trace, not the process."""
        del spans
        if self._file is None:
            return
        self._left -= len(request) + 1
        if self._left < 0:
            self._end("it has reached its largest size")
            return
        try:
            self._file.write(request + b"\n")
        except OSError as error:
            self._end(error)

    def _end(self, why: object) -> None:
        logger.warning("%s: no more spans are written: %s", self._path, why)
        self.close()

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                logger.warning("%s: %s", self._path, error)


class UrlTarget:
    """Posts requests to a collector from a thread of its own; what it does not take is dropped.

    Args:
        url: ``http://host:port``, or with a path; ``/v1/traces`` is added if there is none.
    """

    def __init__(self, url: str) -> None:
        self._url = url if urlsplit(url).path.strip("/") else url.rstrip("/") + _PATH
        self._waiting: queue.Queue[tuple[bytes, int] | None] = queue.Queue(MAX_WAITING)
        self._failed = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._post_all, name="trace", daemon=True)
        self._thread.start()

    def write(self, request: bytes, spans: int) -> None:
        """Queue a request."""
        try:
            self._waiting.put_nowait((request, spans))
        except queue.Full:
            self.dropped += spans

    def close(self) -> None:
        """Post what waits, for :data:`TIMEOUT_S` at most."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=TIMEOUT_S)
        self._thread.join(TIMEOUT_S)
        if self.dropped:
            logger.warning("%s: %d spans were dropped", self._url, self.dropped)

    def _post_all(self) -> None:
        while (item := self._waiting.get()) is not None:
            self._post(*item)

    def _post(self, body: bytes, spans: int) -> None:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url, body, headers)  # noqa: S310 - see `target_of`
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
                self._failed = False
        except (OSError, HTTPException, ValueError) as error:
            self.dropped += spans
            if not self._failed:
                logger.warning("%s: spans are dropped: %s", self._url, str(error) or repr(error))
            self._failed = True


def target_of(place: str) -> Target:
    """The target of ``--trace``: an http or https URL, or a file.

    Raises:
        UserError: If the file cannot be written, or the URL is of another kind or not valid.
    """
    scheme, separator, _ = place.partition("://")
    if not separator:
        return FileTarget(Path(place))
    if scheme not in {"http", "https"} or not _is_url(place):
        raise UserError(f"--trace {place}: expected a file, or http://host:4318 of a collector")
    return UrlTarget(place)


def _is_url(place: str) -> bool:
    """Whether it has a host, a port if any, and no character that a request cannot have."""
    try:
        parts = urlsplit(place)
        return bool(parts.hostname) and parts.port != 0 and place.isprintable() and " " not in place
    except ValueError:  # brackets without an IPv6 address, or no number for the port
        return False
