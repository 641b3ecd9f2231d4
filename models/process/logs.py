r"""Logging of every process: one line per record, bounded, escaped, and without secrets.

What a log line quotes may come from a topic, so nothing in it is trusted: whatever does not print
(line ends, escapes, direction marks, lone surrogates) is shown as ``\x0a`` or ``\u202e``, and a
line has :data:`MAX_LINE_BYTES` at most, with its middle cut out. :func:`hide` names a secret; it is
masked from then on, in whatever form a client quotes it. What a client sends to log in is masked by
its type, for that may be anything.
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
#: Of one line, without its end.
MAX_LINE_BYTES: Final = 4096
#: A shorter "secret" would mask half of what is logged; a login is masked by its type anyway.
MIN_SECRET: Final = 4
MASK: Final = "[hidden]"
#: What passwords, proofs and tokens are sent in; the client logs requests and answers at DEBUG.
_LOGIN_MESSAGE: Final = re.compile(r"^SaslAuthenticate(Request|Response)")
_UNUSUAL: Final = re.compile(r"[^ -~]")
_IN_THE_CLEAR: Final = "Sending username and password in the clear"
_CANNOT_BEGIN: Final = 'Unable connect to "%s:%s": %s'
_NO_PRODUCER_ID: Final = "Unexpected error during InitProducerIdRequest: %s"
_FRAMEWORKS: Final = ("mode.", "faust.", "stream.")
#: Libraries that tell more than a person wants to read, at INFO.
_TALKATIVE: Final = ("aiokafka", "faust", "mode", "torch")
#: Each of some thirty services of a Faust app has these at its start and at its end.
_SERVICE_MOVES: Final = re.compile(r"^\[\^.*\]: (Starting|Stopping|Flush producer buffer)\.\.\.$")
_JSON_FRAME_BYTES: Final = 400  # names, time, level and logger

_secrets: set[str] = set()
_forms: re.Pattern[str] | None = None
_lock: Final = threading.Lock()


def hide(secret: str) -> None:
    """Mask ``secret`` in all that is logged from now on; safe in any thread."""
    global _forms  # noqa: PLW0603 - logging is one per process, and so are its secrets
    if len(secret) < MIN_SECRET:
        return
    with _lock:
        _secrets.update(_quoted(secret))
        longest_first = sorted(_secrets, key=len, reverse=True)
        _forms = re.compile("|".join(map(re.escape, longest_first)))


def masked(text: str) -> str:
    """``text`` without the secrets that were named to :func:`hide`."""
    return text if _forms is None else _forms.sub(MASK, text)


def one_line(text: str, limit: int = MAX_LINE_BYTES) -> str:
    """``text`` masked and escaped, its middle cut out where it is longer than ``limit`` bytes.

    The cost is bounded too, but for the masking: a message of a megabyte is cut before it is
    escaped.
    """
    text = masked(text)
    if len(text) > 2 * limit:
        dropped = len(text) - 2 * limit
        text = f"{text[:limit]}{_cut_mark(dropped, 'characters')}{text[-limit:]}"
    return _cut(escaped(text), limit)


def escaped(text: str) -> str:
    r"""``text`` with all that does not print as ``\xNN``, ``\uNNNN`` or ``\UNNNNNNNN``."""
    return text if text.isprintable() else _UNUSUAL.sub(_escape, text)


class LineFormatter(logging.Formatter):
    """Makes one bounded line of a record; see the module.

    Args:
        form: ``text`` for people, ``json`` for machines: an object with ``ts`` (UTC, ISO 8601),
            ``level``, ``logger``, ``message`` and, of an exception, ``exception`` and
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
    """Log to ``stream`` (standard error where none is given), in place of all set up before.

    Uncaught exceptions and warnings are logged too.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter(form))
    handler.addFilter(_WorthLogging(verbose=verbose))
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, handlers=[handler], force=True
    )
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.NOTSET if verbose else logging.WARNING)
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(
        args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback
    )


def logs_json() -> bool:
    """Whether this process logs for machines."""
    formatters = (handler.formatter for handler in logging.getLogger().handlers)
    return any(isinstance(each, LineFormatter) and each.form == "json" for each in formatters)


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("weir").critical(
        "an error that nobody foresaw; please report it", exc_info=(kind, error, trace)
    )


class _WorthLogging(logging.Filter):
    """Leaves out what something else says.

    Faust's services report a crash once each, and that they are cancelled for it; Kafka's client
    reports each server that it cannot begin with, or that gives it no producer id. All end in an
    error that is reported once, by who started them. That a password goes over the wire in the
    clear is logged once, not for each of a worker's connections. That a service starts or stops is
    for `-v`.
    """

    def __init__(self, *, verbose: bool) -> None:
        super().__init__()
        self._verbose = verbose
        self._in_the_clear = False

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        consequence = isinstance(error, UserError | asyncio.CancelledError)
        if consequence and record.name.startswith(_FRAMEWORKS):
            return False
        if record.msg == _IN_THE_CLEAR:
            before, self._in_the_clear = self._in_the_clear, True
            return not before
        if record.msg in {_CANNOT_BEGIN, _NO_PRODUCER_ID}:
            return False
        moves = record.levelno <= logging.INFO and _SERVICE_MOVES.match(str(record.msg))
        return self._verbose or not moves


def _message(record: logging.LogRecord) -> str:
    """The message; what is sent to log in is left out."""
    values = record.args
    if isinstance(values, tuple):
        values = tuple(_without_login(value) for value in values)
    try:
        return str(record.msg) % values if values else str(record.msg)
    except Exception as error:  # noqa: BLE001 - a log line never ends what it reports on
        return f"{record.msg!r} cannot be formatted: {error!r}"


def _without_login(value: object) -> object:
    kind = type(value).__name__
    return f"{kind}({MASK})" if _LOGIN_MESSAGE.match(kind) else value


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
    """As :func:`one_line`; JSON may double a quote or backslash, so its form counts."""
    line = one_line(text, limit)
    while (size := len(orjson.dumps(line))) > limit:
        line = _cut(line, len(line.encode()) * limit // size - 16)
    return line


def _summary(error: BaseException) -> str:
    return one_line("; ".join(f"{type(e).__name__}: {e}" for e in _leaves(error)), 1024)


def _trace(error: BaseException) -> str:
    """The traceback on one line, nothing where the error explains itself."""
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
    """The forms in which a secret may be quoted."""
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
    """``text`` with its middle cut out where it has more than ``limit`` bytes."""
    raw = text.encode()
    if len(raw) <= limit:
        return text
    room = max(0, limit - len(_cut_mark(len(raw), "bytes")))
    head, tail = raw[: room - room // 4], raw[len(raw) - room // 4 :]
    mark = _cut_mark(len(raw) - room, "bytes")
    return head.decode(errors="ignore") + mark + tail.decode(errors="ignore")


def _cut_mark(count: int, unit: str) -> str:
    return f"[... {count} {unit} ...]"
