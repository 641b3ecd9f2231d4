"""Processes of brokers: their start, their log, their end."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.brokers.children import free_port
from stream.brokers.embedded import EmbeddedBroker
from stream.brokers.process import BrokerError, BrokerProcess, accepts, refuse_taken

UP = b"it is up"
SLEEPS = f"import time; print({UP.decode()!r}, flush=True); time.sleep(600)"
IGNORES = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS}"


@pytest.fixture
def process(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[BrokerProcess]:
    """One that runs the program of the parameter, SLEEPS without one."""
    program = getattr(request, "param", SLEEPS)
    made = BrokerProcess("the broker", [sys.executable, "-c", program], tmp_path / "a" / "log")
    yield made
    made.kill()


def start(process: BrokerProcess) -> None:
    process.start(lambda: process.printed(UP), 60.0)


def test_it_can_be_started_again(process: BrokerProcess) -> None:
    """Its log goes on, but only what it printed since the last start counts."""
    start(process)
    assert process.pid is not None
    with pytest.raises(BrokerError, match="the broker is already running"):
        process.spawn()
    assert process.stop(60.0)
    assert process.pid is None
    process.spawn()
    process.wait_until(lambda: process.printed(UP), 60.0)
    assert process.log.read_bytes().count(UP) == 2


@pytest.mark.parametrize("process", [IGNORES], indirect=True)
def test_one_that_ignores_sigterm_is_killed(process: BrokerProcess) -> None:
    """And the caller is told."""
    start(process)
    assert not process.stop(0.2)
    assert process.pid is None


def test_one_that_is_not_up_in_time_is_killed(process: BrokerProcess) -> None:
    """The error names the log."""
    with pytest.raises(BrokerError, match=f"was not up within 0.1 s; see {process.log}"):
        process.start(lambda: False, 0.1)
    assert process.pid is None


@pytest.mark.parametrize("process", ["raise SystemExit(7)"], indirect=True)
def test_one_that_ends_at_once_is_named_with_its_status(process: BrokerProcess) -> None:
    """The error names the log, too."""
    with pytest.raises(
        BrokerError, match=f"ended with status 7 while it started; see {process.log}"
    ):
        process.start(lambda: False, 60.0)


@pytest.mark.broker
def test_a_port_in_use_is_refused(broker: EmbeddedBroker) -> None:
    """And a free one is not."""
    assert accepts(broker.port)
    with pytest.raises(BrokerError, match=f"port {broker.port} is taken; choose another"):
        refuse_taken(broker.port)
    refuse_taken(free_port())
