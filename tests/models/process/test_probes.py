"""The endpoint of a process: metrics, liveness, readiness, and nothing else."""

import socket
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, Counter

from models.process.health import Health
from models.process.probes import ProbeError, memory_limit, serve


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    """Status and body."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_ready_once_every_condition_is_met() -> None:
    """503 with a line per unmet condition, 200 when none is left, 503 again with the reason."""
    health = Health("worker", ["partitions", "model"])
    port = serve(CollectorRegistry(), health, "127.0.0.1", 0)
    assert get(port, "/ready") == (503, "partitions: not yet\nmodel: not yet\n")
    health.met("partitions")
    health.unmet("model", "hash-mismatch")
    assert get(port, "/ready") == (503, "model: hash-mismatch\n")
    health.met("model")
    assert get(port, "/ready") == (200, "ready\n")
    health.unmet("partitions", "rebalancing")
    assert get(port, "/ready") == (503, "partitions: rebalancing\n")
    assert get(port, "/live") == (200, "live\n")


def test_live_while_heartbeats_are_in_time() -> None:
    """An activity whose heartbeat is late is stalled until the next heartbeat."""
    clock = Clock()
    health = Health("worker", [], clock)
    port = serve(CollectorRegistry(), health, "127.0.0.1", 0)
    health.beat("event loop", 30.0)
    health.beat("progress", 100.0)
    clock.now_s += 30.0
    assert get(port, "/live") == (200, "live\n")
    clock.now_s += 15.0
    assert get(port, "/live") == (503, "event loop: no progress for 45 s\n")
    health.beat("event loop", 30.0)
    assert get(port, "/live") == (200, "live\n")
    clock.now_s += 101.0
    assert get(port, "/live")[0] == 503


@pytest.mark.parametrize("path", ["/", "/metric", "/ready/", "/healthz", "/favicon.ico"])
def test_other_paths_are_not_there(path: str) -> None:
    """A probe of a path that is not served fails, instead of passing for ever."""
    port = serve(CollectorRegistry(), Health("worker", []), "127.0.0.1", 0)
    assert get(port, path)[0] == 404


def test_metrics_tell_process_build_and_health() -> None:
    """Beside its own metrics a process shows version, scanner, memory, readiness, heartbeats."""
    registry = CollectorRegistry()
    Counter("weir_things", "Things.", registry=registry).inc(3)
    health = Health("feedback", ["broker"], Clock())
    health.beat("event loop", 30.0)
    port = serve(registry, health, "127.0.0.1", 0)
    status, text = get(port, "/metrics")
    assert status == 200
    lines = text.splitlines()
    assert "weir_things_total 3.0" in lines
    assert 'weir_ready{role="feedback"} 0.0' in lines
    assert 'weir_ready_condition{condition="broker",role="feedback"} 0.0' in lines
    assert 'weir_heartbeat_age_seconds{heartbeat="event loop",role="feedback"} 0.0' in lines
    (build,) = [line for line in lines if line.startswith("weir_build_info{")]
    assert all(f'{label}="' in build for label in ("version", "revision", "python", "scanner"))
    for name in ("process_resident_memory_bytes", "weir_scanner_compiled", "python_info"):
        assert any(line.startswith(name) for line in lines)


def test_port_that_is_taken_is_one_sentence() -> None:
    """The error names the settings and what to do."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ProbeError, match=r"trainer\.metrics_port.*in use.*another port"):
            serve(CollectorRegistry(), Health("trainer", []), "127.0.0.1", port, section="trainer")


def test_address_that_is_none_is_one_sentence() -> None:
    """So is a host that cannot be resolved."""
    with pytest.raises(ProbeError, match=r"worker\.metrics_host"):
        serve(CollectorRegistry(), Health("worker", []), "no such host", 0)


@pytest.mark.parametrize(("text", "limit"), [("536870912\n", 536_870_912), ("max\n", 0)])
def test_memory_limit_is_the_containers(tmp_path: Path, text: str, limit: int) -> None:
    """As the kernel tells it; without one, or without a container, 0."""
    (tmp_path / "memory.max").write_text(text)
    assert memory_limit(tmp_path / "memory.max") == limit
    assert memory_limit(tmp_path / "absent") == 0


def test_a_missing_scanner_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the package was built without it, a warning at the start and a metric say so."""
    monkeypatch.setattr("models.process.probes.NATIVE", False)
    port = serve(CollectorRegistry(), Health("worker", []), "127.0.0.1", 0)
    assert "the compiled scanner is missing" in caplog.text
    text = get(port, "/metrics")[1]
    assert "weir_scanner_compiled 0.0" in text
    assert 'scanner="python"' in text
