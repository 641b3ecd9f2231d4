r"""Logging of every process: one line per record, of bounded length, escaped, without secrets.

A log line may quote text from a topic, so none of it is trusted: unprintable characters (line ends,
escapes, direction marks, lone surrogates) are shown as ``\x0a`` or ``\u202e``, and a line longer
than :data:`MAX_LINE_BYTES` loses its middle. Secrets that :func:`hide` was given are masked in
every form in which a client may quote them. The authentication messages of the Kafka client are
masked by their type, since they may contain anything.
"""

import asyncio
import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Literal, TextIO

import orjson

from models.errors import UserError

Format = Literal["text", "json"]
#: Maximum size of a line, without its end.
MAX_LINE_BYTES: Final = 4096
#: Shorter secrets are not masked: they would match half of what is logged.
MIN_SECRET: Final = 4
MASK: Final = "[hidden]"
#: Messages with passwords, proofs and tokens; the client logs requests and responses at DEBUG.
_AUTHENTICATION: Final = re.compile(r"^SaslAuthenticate(Request|Response)")
_UNPRINTABLE: Final = re.compile(r"[^ -~]")
_UNENCRYPTED_LOGIN: Final = "Sending username and password in the clear"
_BOOTSTRAP_FAILED: Final = 'Unable connect to "%s:%s": %s'
_NO_PRODUCER_ID: Final = "Unexpected error during InitProducerIdRequest: %s"
_FRAMEWORKS: Final = ("mode.", "faust.", "stream.")
#: Libraries whose INFO lines are shown in verbose mode only.
_VERBOSE_LIBRARIES: Final = ("aiokafka", "faust", "mode", "torch")
#: Lines that each of some thirty services of a Faust app logs when it starts and stops.
_LIFECYCLE: Final = re.compile(r"^\[\^.*\]: (Starting|Stopping|Flush producer buffer)\.\.\.$")
_JSON_FRAME_BYTES: Final = 400  # names, time, level and logger

_secrets: set[str] = set()
_secret_pattern: re.Pattern[str] | None = None
_lock: Final = threading.Lock()


def hide(secret: str) -> None:
    """Mask ``secret`` in everything that is logged from now on; thread-safe."""
    global _secret_pattern  # noqa: PLW0603 - logging is global, and so are its secrets
    if len(secret) < MIN_SECRET:
        return
    with _lock:
        _secrets.update(_quoted(secret))
        longest_first = sorted(_secrets, key=len, reverse=True)
        _secret_pattern = re.compile("|".join(map(re.escape, longest_first)))


def masked(text: str) -> str:
    """``text`` with the secrets that :func:`hide` was given replaced by a mask."""
    return text if _secret_pattern is None else _secret_pattern.sub(MASK, text)


def one_line(text: str, limit: int = MAX_LINE_BYTES) -> str:
    """``text`` masked and escaped; without its middle if it is longer than ``limit`` bytes.

    Apart from the masking the cost is bounded: a message of a megabyte is cut before it is escaped.
    """
    text = masked(text)
    if len(text) > 2 * limit:
        dropped = len(text) - 2 * limit
        text = f"{text[:limit]}{_cut_mark(dropped, 'characters')}{text[-limit:]}"
    return _cut(escaped(text), limit)


def escaped(text: str) -> str:
    r"""``text`` with unprintable characters as ``\xNN``, ``\uNNNN`` or ``\UNNNNNNNN``."""
    return text if text.isprintable() else _UNPRINTABLE.sub(_escape, text)


class LineFormatter(logging.Formatter):
    """Formats a record as one line of bounded length, as the module's docstring says.

    Args:
        form: ``text`` for people, ``json`` for machines: an object with ``ts`` (UTC, ISO 8601),
            ``level``, ``logger``, ``message`` and, with an exception, ``exception`` and
            ``traceback``.
    """

    def __init__(self, form: Format) -> None:
        super().__init__()
        self.form = form

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        message, error = _message(record), record.exc_info[1] if record.exc_info else None
        made = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        if self.form == "json":
            return _json(record, message, error, made)
        head = f"{made} {record.levelname} {record.name}: {message}"
        if error is not None:
            head = f"{one_line(head, MAX_LINE_BYTES // 2)}: {_summary(error)}"
            if trace := _trace(error):
                head += f" | {trace}"
        return one_line(head)


def set_up(form: Format = "text", *, verbose: bool = False, stream: TextIO | None = None) -> None:
    """Log to ``stream`` (by default standard error); replaces any earlier set-up.

    Uncaught exceptions and warnings are logged, too.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter(form))
    handler.addFilter(_NoiseFilter(verbose=verbose))
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True
    )
    for name in _VERBOSE_LIBRARIES:
        logging.getLogger(name).setLevel(logging.NOTSET if verbose else logging.WARNING)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def logs_json() -> bool:
    """Whether this process logs in JSON."""
    formatters = (handler.formatter for handler in logging.getLogger().handlers)
    return any(isinstance(each, LineFormatter) and each.form == "json" for each in formatters)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("weir").critical(
        "unexpected error; please report it", exc_info=(kind, error, trace)
    )


class _NoiseFilter(logging.Filter):
    """Drops records that repeat what another one reports.

    Each of Faust's services logs a crash, and its own cancellation because of it; the Kafka client
    logs every bootstrap server that it cannot connect to, and every failure to get a producer id.
    All of these end in one error, which the command or worker logs. The client's warning about an
    unencrypted password is kept once, not for each connection. The start and stop of services is
    shown in verbose mode only.
    """

    def __init__(self, *, verbose: bool) -> None:
        super().__init__()
        self._verbose = verbose
        self._warned_of_login = False

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        consequence = isinstance(error, UserError | asyncio.CancelledError)
        if consequence and record.name.startswith(_FRAMEWORKS):
            return False
        if record.msg == _UNENCRYPTED_LOGIN:
            warned, self._warned_of_login = self._warned_of_login, True
            return not warned
        if record.msg in {_BOOTSTRAP_FAILED, _NO_PRODUCER_ID}:
            return False
        lifecycle = record.levelno <= logging.INFO and _LIFECYCLE.match(str(record.msg))
        return self._verbose or not lifecycle


def _message(record: logging.LogRecord) -> str:
    """The message, without credentials."""
    values = record.args
    if isinstance(values, tuple):
        values = tuple(_without_credentials(value) for value in values)
    try:
        return str(record.msg) % values if values else str(record.msg)
    except Exception as error:  # noqa: BLE001 - logging must not raise
        return f"{record.msg!r} cannot be formatted: {error!r}"


def _without_credentials(value: object) -> object:
    kind = type(value).__name__
    return f"{kind}({MASK})" if _AUTHENTICATION.match(kind) else value


def _json(record: logging.LogRecord, message: str, error: BaseException | None, made: str) -> str:
    row: dict[str, Any] = {
        "ts": made,
        "level": record.levelname,
        "logger": one_line(record.name, 100),
    }
    room = MAX_LINE_BYTES - _JSON_FRAME_BYTES
    if error is None:
        row["message"] = _json_text(message, room)
    else:
        row["message"] = _json_text(message, room // 2)
        row["exception"] = _json_text(_summary(error), room // 4)
        row["traceback"] = _json_text(_trace(error), room // 4)
    return orjson.dumps(row).decode()


def _json_text(text: str, limit: int) -> str:
    """As :func:`one_line`, with the limit on the text as JSON, which escapes quotes."""
    line = one_line(text, limit)
    while (size := len(orjson.dumps(line))) > limit:
        line = _cut(line, len(line.encode()) * limit // size - 16)
    return line


def _summary(error: BaseException) -> str:
    return one_line("; ".join(f"{type(e).__name__}: {e}" for e in _leaves(error)), 1024)


def _trace(error: BaseException) -> str:
    """The traceback on one line; empty if the error explains itself."""
    if all(_explains_itself(leaf) for leaf in _leaves(error)):
        return ""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return one_line(" / ".join(line.strip() for line in lines), MAX_LINE_BYTES // 4)


def _explains_itself(error: BaseException) -> bool:
    return isinstance(error, UserError) or type(error).__module__ == "aiokafka.errors"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _quoted(secret: str) -> set[str]:
    """The forms in which a client may quote a secret."""
    inside_json = orjson.dumps(secret.encode(errors="replace").decode())[1:-1].decode()
    encoded = secret.encode(errors="replace")
    return {secret, repr(secret)[1:-1], repr(encoded)[2:-1], inside_json, escaped(secret)}


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x1_0000 else f"\\U{code:08x}"


def _cut(text: str, limit: int) -> str:
    """``text`` without its middle if it has more than ``limit`` bytes."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    room = max(0, limit - len(_cut_mark(len(raw), "bytes")))
    head, tail = raw[: room - room // 4], raw[len(raw) - room // 4 :]
    mark = _cut_mark(len(raw) - room, "bytes")
    return head.decode(errors="ignore") + mark + tail.decode(errors="ignore")


def _cut_mark(count: int, unit: str) -> str:
    return f"[... {count} {unit} ...]"
