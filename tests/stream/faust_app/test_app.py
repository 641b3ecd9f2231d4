"""How a Faust process of Weir ends."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from models.settings import Settings

pytestmark = pytest.mark.broker
DEADLINE_S = 120.0
SCRIPT = """
import asyncio, logging
from mode import Service
from models.settings import load_settings
from stream.faust_app import app
from stream.kafka.rights import Role

class NeverStops(Service):
    async def on_stop(self):
        await asyncio.Event().wait()

class App(app.DisklessApp):
    def on_init_dependencies(self):
        return [NeverStops(), *super().on_init_dependencies()]

    async def on_started(self):
        print("STARTED", flush=True)

logging.basicConfig(level=logging.INFO)
settings = load_settings()
async def read(stream):
    async for _ in stream:
        pass

app.STOP_S = 1.0
never_stops = App(settings, settings.kafka.group, Role.FEEDBACK)
never_stops.agent(never_stops.topic(settings.topics.outcomes))(read)
app.run_app(never_stops)
"""


def test_a_stop_that_never_ends_is_ended(settings: Settings, tmp_path: Path) -> None:
    """SIGTERM ends the process, though a service waits for ever: with a line, and a status."""
    log = tmp_path / "app.log"
    with log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            env={"PATH": "", **settings.environment()},
            cwd=Path(__file__).parents[3],
            stdout=out,
            stderr=out,
        )
    try:
        deadline = time.monotonic() + DEADLINE_S
        while "STARTED" not in log.read_text():
            assert child.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        child.send_signal(signal.SIGTERM)
        assert child.wait(DEADLINE_S) == 1
    finally:
        child.kill()
        child.wait()
    assert "not stopped within 1 s after SIGTERM" in log.read_text()
