"""Children run this installation of Weir, report their failure, and end with their parent."""

import os
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest

from stream.brokers.children import ChildError, ChildProcess
from tests.stream.brokers.test_embedded import gone


@pytest.fixture
def foreign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory whose packages have the names of Weir's."""
    for name in ("models", "stream", "trainer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('a foreign package')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


async def test_packages_of_the_working_directory_are_not_imported(foreign: Path) -> None:
    """The child imports what its parent imports."""
    async with ChildProcess("version", ["--version"], foreign / "log" / "child", {}) as child:
        assert await child.wait() == 0
    assert child.log.read_text() == f"weir {version('weir')}\n"


async def test_a_failure_names_the_child_and_quotes_its_log(tmp_path: Path) -> None:
    """With the status."""
    arguments = ["--set", "policy.rate=high", "topics"]
    async with ChildProcess("topics", arguments, tmp_path / "log", {}) as child:
        await child.wait()
        with pytest.raises(ChildError, match=r"topics ended with status 2; .*log ends:\n.*rate"):
            child.check()


async def test_the_environment_of_the_parent_configures_no_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings in it are those of the parent; a child gets its own."""
    monkeypatch.setenv("WEIR_POLICY__RATE", "high")
    async with ChildProcess("version", ["rate", "--help"], tmp_path / "log", {}) as child:
        assert await child.wait() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    """A kill -9 of the parent leaves no child behind."""
    code = (
        "import asyncio; from pathlib import Path\n"
        "from stream.brokers.children import ChildProcess\n"
        "async def run():\n"
        f"    log = Path({str(tmp_path / 'log')!r})\n"
        f"    arguments = ['broker', '--port', '0', '--folder', {str(tmp_path)!r}]\n"
        "    async with ChildProcess('broker', arguments, log, {}) as child:\n"
        "        while b'listens' not in log.read_bytes(): await asyncio.sleep(0.05)\n"
        "        print(child.pid, flush=True)\n"
        "        await child.wait()\n"
        "asyncio.run(run())"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert psutil.pid_exists(pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(pid, 60)
