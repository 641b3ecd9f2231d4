"""Log lines: one each, bounded, escaped, without secrets."""

import io
import logging
import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import UserError
from models.process import logs

logger = logging.getLogger("tests.logs")
FORMATS: list[logs.Format] = ["text", "json"]


@pytest.fixture(autouse=True)
def _without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden secrets belong to the process."""
    monkeypatch.setattr(logs, "_secrets", set())
    monkeypatch.setattr(logs, "_secret_pattern", None)


def logged(form: logs.Format, message: str, *args: object, error: Exception | None = None) -> str:
    """What one record becomes."""
    stream = io.StringIO()
    logs.set_up(form, stream=stream)
    logger.warning(message, *args, exc_info=error)
    return stream.getvalue()


@pytest.mark.parametrize("form", FORMATS)
@given(
    text=st.one_of(
        st.text(max_size=3000),
        st.text(alphabet='\n\r\x1b"\\\u202e\ud800\U0001f600', max_size=5000),
        st.text(min_size=1, max_size=20).map(lambda part: part * 5000),
    )
)
def test_any_text_is_one_bounded_line_that_prints(form: logs.Format, text: str) -> None:
    """Whatever a key, a value or an error holds."""
    line = logged(form, "key %s", text, error=ValueError(text))
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert len(line.encode()) <= logs.MAX_LINE_BYTES + 1
    if form == "json":
        row = orjson.loads(line)
        assert (row["level"], row["logger"]) == ("WARNING", "tests.logs")
        assert row["exception"].startswith("ValueError: ")
        assert row["message"].isprintable()


@pytest.mark.parametrize("form", FORMATS)
def test_a_megabyte_is_cut_in_its_middle_and_soon_done(form: logs.Format) -> None:
    """Beginning and end stay, for the end of a message is often its reason."""
    start = time.perf_counter()
    line = logged(form, "%s", "first" + "\n" * 900_000 + "last")
    assert time.perf_counter() - start < 5
    assert "first" in line
    assert "last" in line
    assert "[... " in line


def test_what_does_not_print_is_shown_by_its_number() -> None:
    """Line ends, escapes, direction marks and surrogates do not reach a terminal."""
    assert logs.one_line("a\nb\x1b[31m\u202e\ud800\U000e0001é") == (
        "a\\x0ab\\x1b[31m\\u202e\\ud800\\U000e0001é"
    )


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("secret", ["hunter22", 'qu"ote\\d', "sn\nowflake", "pässwörd"])
def test_a_secret_is_masked_in_every_form(form: logs.Format, secret: str) -> None:
    """As it is, in a repr, in bytes, in JSON."""
    logs.hide(secret)
    for shown in (secret, repr(secret), repr(secret.encode()), orjson.dumps(secret).decode()):
        line = logged(form, "told %s", shown, error=ValueError(shown))
        assert logs.MASK in line
        for quoted in (secret, repr(secret)[1:-1], repr(secret.encode())[2:-1]):
            assert quoted not in line


def test_what_is_sent_to_log_in_is_masked_though_nobody_named_it() -> None:
    """Requests and answers of SASL are known by their type."""
    from aiokafka.protocol.admin import SaslAuthenticateRequest  # noqa: PLC0415

    request = SaslAuthenticateRequest(b"\0user\0hunter22").prepare({36: (0, 1)})
    line = logged("text", "Request to %s:%d %d: %s", "host", 1, 2, request)
    assert "hunter22" not in line
    assert logs.MASK in line


def test_a_format_that_does_not_fit_is_logged_nevertheless() -> None:
    """A log line never ends what it reports on."""
    assert "cannot be formatted" in logged("text", "%d", "no number")


def test_an_error_for_people_has_no_traceback_and_another_has_one() -> None:
    """A traceback is on the same line as its message."""

    def raised(error: Exception) -> Exception:
        with pytest.raises(type(error)) as caught:
            raise error
        return caught.value

    told = logged("text", "oh", error=raised(UserError("set kafka.bootstrap")))
    assert told.endswith(": oh: UserError: set kafka.bootstrap\n")
    assert "test_logs.py" in logged("text", "oh", error=raised(RuntimeError("bug")))


@pytest.mark.parametrize("verbose", [False, True])
def test_what_frameworks_do_at_a_start_and_an_end_is_for_verbose(verbose: bool) -> None:
    """A worker has some thirty services; what it has to say itself is not to drown in them."""
    stream = io.StringIO()
    logs.set_up(verbose=verbose, stream=stream)
    own = logging.getLogger("stream.intercept.worker")
    for move in ("Starting...", "Stopping...", "Flush producer buffer..."):
        own.info(f"[^--InterceptWorker]: {move}")
    for name in ("faust.worker", "mode.supervisors", "aiokafka.conn"):
        logging.getLogger(name).info("Gathering all futures...")
    assert len(stream.getvalue().splitlines()) == (6 if verbose else 0)
    own.info("[^--Producer]: Topic created.")
    own.warning("[^--InterceptWorker]: Stopping...")
    logging.getLogger("faust.worker").warning("late")
    assert len(stream.getvalue().splitlines()) == (9 if verbose else 3)
