"""The demo as a process."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.broker, pytest.mark.slow]
DEADLINE_S = 120.0


async def start(*arguments: str) -> asyncio.subprocess.Process:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stream.cli", "demo", *arguments,
        env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip


async def until_gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    deadline = time.monotonic() + 15
    while (left := [p for p in processes if p.is_running()]) and time.monotonic() < deadline:
        await asyncio.sleep(0.1)
    return left


async def test_accounts_for_every_request_and_leaves_nothing_running(tmp_path: Path) -> None:
    """Exit status 0, an exact summary in both places, every example, and no process behind."""
    summary = tmp_path / "summary.json"
    folder = tmp_path / "demo"
    demo = await start(
        "--requests", "20000", "--pace", "2500", "--rate", "0.7",
        "--out", str(folder), "--summary", str(summary),
    )  # fmt: skip
    family: dict[int, psutil.Process] = {}
    talk = asyncio.ensure_future(demo.communicate())
    while not talk.done():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended; its pipes follow
            family |= {p.pid: p for p in psutil.Process(demo.pid).children(recursive=True)}
        await asyncio.wait([talk], timeout=0.2)
    stdout, stderr = talk.result()
    assert demo.returncode == 0, stderr.decode()
    found = json.loads(summary.read_text())
    assert found == json.loads((folder / "summary.json").read_text()) == json.loads(stdout)
    assert found["requests"] == 20_000 == found["passed"] + found["blocked"] + found["rejected"]
    assert found["achieved_rate"] == pytest.approx(0.7, abs=0.005)
    assert found["missing"] == found["doubled"] == 0
    assert found["outcomes"] > 500
    assert found["examples"] == found["passed"]
    assert len(family) >= 5
    assert await until_gone(list(family.values())) == []


@pytest.mark.parametrize(
    ("number", "after", "status"),
    [
        (signal.SIGINT, "broker.log", 130),
        (signal.SIGINT, "worker-1.log", 130),
        (signal.SIGINT, "publisher.log", 130),
        (signal.SIGTERM, "publisher.log", 143),
    ],
)
async def test_interrupted_at_any_moment_it_leaves_nothing_running(
    number: signal.Signals, after: str, status: int, tmp_path: Path
) -> None:
    """Ctrl-C and SIGTERM while things start or run: all others have ended when the demo ends."""
    demo = await start("--requests", "100000", "--out", str(tmp_path / "demo"))
    talk = asyncio.ensure_future(demo.communicate())
    deadline = time.monotonic() + DEADLINE_S
    family: list[psutil.Process] = []
    while not (family and (tmp_path / "demo" / after).exists()) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
        family = psutil.Process(demo.pid).children(recursive=True)
    assert family
    demo.send_signal(number)
    await asyncio.wait_for(talk, DEADLINE_S)
    assert demo.returncode == status
    assert [process for process in family if process.is_running()] == []


async def test_killed_it_takes_its_processes_along(tmp_path: Path) -> None:
    """Even kill -9 of the demo leaves no broker and no worker behind."""
    demo = await start("--requests", "100000", "--out", str(tmp_path / "demo"))
    deadline = time.monotonic() + DEADLINE_S
    while not (tmp_path / "demo" / "publisher.log").exists() and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    family = psutil.Process(demo.pid).children(recursive=True)
    assert len(family) >= 4
    demo.kill()
    await demo.communicate()
    assert await until_gone(family) == []
