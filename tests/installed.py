"""Weir as a stranger has it: installed from its wheel, in a folder with packages of their own."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).parents[1]
#: What a wheel is built from.
SOURCES = ("weir", "stream", "models", "trainer", "pyproject.toml", "README.md", "LICENSE")
LIMIT_S = 600.0


@dataclass(frozen=True)
class Installed:
    """A fresh environment with the wheel in it.

    Attributes:
        environment: Folder of the virtual environment.
        wheel: The file that was installed.
        folder: Working directory of what runs; it has packages called models, stream and trainer,
            which cannot be imported.
    """

    environment: Path
    wheel: Path
    folder: Path

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.environment / "bin" / "python"

    @property
    def weir(self) -> Path:
        """Its command."""
        return self.environment / "bin" / "weir"

    @property
    def packages(self) -> Path:
        """Its folder of installed packages."""
        (found,) = self.environment.glob("lib/python*/site-packages")
        return found

    def run(self, program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end in the working directory."""
        return subprocess.run(
            [program, *arguments],
            cwd=self.folder, env=_clean(), capture_output=True, text=True, check=False,
            timeout=LIMIT_S,
        )  # fmt: skip

    def output(self, *arguments: str) -> str:
        """What `weir` prints; it must end with status 0."""
        done = self.run(self.weir, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def running(self, *arguments: str) -> Iterator["Running"]:
        """`weir` in the background; Ctrl-C ends it, with status 0."""
        with subprocess.Popen(
            [self.weir, *arguments],
            cwd=self.folder, env=_clean(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, start_new_session=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            # Ends what waits for output that never comes, and shows what came instead.
            limit = threading.Timer(LIMIT_S, process.kill)
            limit.start()
            try:
                yield Running(process.stdout)
            finally:
                limit.cancel()
                process.send_signal(signal.SIGINT)
                try:
                    status = process.wait(60)
                finally:
                    process.kill()
            assert status == 0


@dataclass(frozen=True)
class Running:
    """A command in the background.

    Attributes:
        output: What it prints, with its log.
    """

    output: IO[str]

    def until(self, pattern: str) -> re.Match[str]:
        """Read its output up to a line in which the pattern is found."""
        lines = []
        for line in self.output:
            lines.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError("".join(lines))


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel, built from a copy of the sources and installed, and a working directory.

    Dependencies come from the environment that runs the tests, offline; Weir itself does not.
    Processes that test side by side share what one of them has installed.
    """
    home = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        home = home.parent
    home /= "installed"
    home.mkdir(exist_ok=True)
    environment, finished = home / "environment", home / "finished"
    with (home / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            _install(home, environment)
            finished.touch()
    (wheel,) = home.glob("weir-*.whl")
    folder = tmp_path_factory.mktemp("work")
    for name in ("models", "stream", "trainer"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(f"raise RuntimeError('not your {name}')\n")
    return Installed(environment, wheel, folder)


def _install(home: Path, environment: Path) -> None:
    """Build the wheel into a folder, and install it into a new environment."""
    copy_sources(home / "source")
    _run(
        sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index",
        "--no-build-isolation", "--wheel-dir", str(home), str(home / "source"),
    )  # fmt: skip
    (wheel,) = home.glob("weir-*.whl")
    venv.create(environment, symlinks=True, clear=True)
    made = Installed(environment, wheel, home)
    pip = (sys.executable, "-m", "pip", "--python", str(made.python))
    _run(*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    # Folders that a .pth file adds have their own .pth files ignored: no editable install here.
    libraries = [path for path in sys.path if Path(path).name == "site-packages"]
    (made.packages / "libraries.pth").write_text("\n".join(libraries))


def copy_sources(to: Path, *more: str) -> None:
    """Copy what git tracks, or would track, of the sources and of more folders."""
    wanted = (*SOURCES, *more)
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *wanted],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    names = [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    if not names:  # not a repository: all but what tools wrote
        found = (path for name in wanted for path in (ROOT / name, *(ROOT / name).rglob("*")))
        kept = (path for path in found if path.is_file() and path.suffix not in {".pyc", ".so"})
        names = [path.relative_to(ROOT).as_posix() for path in kept]
    for name in names:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, to / name)


def _run(*command: str) -> None:
    done = subprocess.run(command, env=_clean(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _clean() -> dict[str, str]:
    """This process's environment without what would lead to another Weir, or set it."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WEIR_", "PYTHON", "VIRTUAL_ENV"))
    }
