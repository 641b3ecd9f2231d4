"""Spans reach a file or a collector, within bounds, and what fails there never ends a process."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import orjson
import pytest

from models.errors import UserError
from stream.trace.export import TOGETHER, Exporter, FileTarget, UrlTarget, target_of
from stream.trace.otlp import read
from stream.trace.span import Span


def span(number: int) -> Span:
    return Span(f"{number:032x}", f"{number:016x}", "", "queue", number, number + 1, {})


def test_spans_are_written_some_at_a_time_and_the_rest_at_the_end(tmp_path: Path) -> None:
    """A file is a line per group."""
    path = tmp_path / "trace.jsonl"
    exporter = Exporter(target_of(str(path)), {"service.name": "weir"})
    spans = [span(number) for number in range(TOGETHER + 3)]
    for one in spans:
        exporter([one])
    exporter.end()
    exporter.close()
    exporter([span(9)])  # the process goes on for a moment
    exporter.flush()
    assert list(read(path)) == spans
    assert path.read_bytes().count(b"\n") == 2


def test_a_full_file_gets_no_more_spans(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The worker goes on, and says so once."""
    path = tmp_path / "trace.jsonl"
    target = FileTarget(path, limit=10)
    for request in (b"123456789", b"1", b"2"):
        target.write(request, 1)
    target.close()
    assert path.read_bytes() == b"123456789\n"
    assert caplog.text.count("largest size") == 1


@pytest.mark.parametrize(
    "place",
    [
        "ftp://host/trace",
        "file:///tmp/trace",
        "http://",
        "http://[::1",
        "http://host:port",
        "http://host/a b",
    ],
)
def test_what_is_no_url_of_a_collector_is_refused(place: str) -> None:
    """Before the worker starts."""
    with pytest.raises(UserError, match="expected a file, or http://"):
        target_of(place)


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """With its name."""
    with pytest.raises(UserError, match=r"--trace .*none/trace\.jsonl: No such file"):
        target_of(str(tmp_path / "none" / "trace.jsonl"))


class Collector(HTTPServer):
    """Keeps what is posted to it; answers with `status`."""

    def __init__(self, status: int) -> None:
        self.bodies: list[tuple[str, bytes]] = []
        kept = self.bodies

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                kept.append((self.path, body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *_args: object) -> None:
                """Keep the output of the tests clean."""

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def collector(request: pytest.FixtureRequest) -> Iterator[Collector]:
    server = Collector(getattr(request, "param", 200))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_collector_gets_every_request(collector: Collector) -> None:
    """At OTLP's own path, in JSON."""
    exporter = Exporter(target_of(f"http://127.0.0.1:{collector.server_port}"), {})
    exporter([span(1)])
    exporter.flush()
    exporter([span(2)])
    exporter.end()
    exporter.close()
    assert [path for path, _ in collector.bodies] == ["/v1/traces"] * 2
    assert all("resourceSpans" in orjson.loads(body) for _, body in collector.bodies)


@pytest.mark.parametrize("collector", [503], indirect=True)
def test_what_a_collector_does_not_take_is_dropped_and_counted(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once, however often it fails."""
    target = UrlTarget(f"http://127.0.0.1:{collector.server_port}/custom")
    for _ in range(3):
        target.write(b"{}", 5)
    target.close()
    assert target.dropped == 15
    assert [path for path, _ in collector.bodies] == ["/custom"] * 3
    assert caplog.text.count("spans are dropped") == 1


@pytest.mark.parametrize("answer", [b"\x00 no HTTP\r\n\r\n", b"HTTP/1.1 200 " + b"x" * 70_000, b""])
def test_an_answer_that_is_no_http_drops_spans_and_the_next_are_sent(answer: bytes) -> None:
    """Another service at the collector's port does not end the thread that posts."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        target = UrlTarget(f"http://127.0.0.1:{server.getsockname()[1]}")
        for number in (1, 2):
            target.write(b"{}", 7)
            connection, _ = server.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)
            assert wait_for(lambda number=number: target.dropped == 7 * number)
        target.close()


def wait_for(condition: Callable[[], bool], limit_s: float = 10.0) -> bool:
    """Whether it comes true in time."""
    end_s = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end_s:
        time.sleep(0.01)
    return condition()
