"""A fuzzing campaign against one target, in its own process.

    python -m chaos.fuzz.campaign TARGET SECONDS SEED FOLDER

Every input is written to a mapped file before it is run, so that it is kept even if it kills the
process. An input that fails is saved with its traceback; one with a new kind of outcome is added to
the corpus. The last line on standard output holds the figures.
"""

import hashlib
import mmap
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Final

import msgspec

from chaos.fuzz.mutation import LONGEST, Mutator

if TYPE_CHECKING:
    from chaos.fuzz.targets import Target

MOST_KEPT: Final = 500
MOST_FAILURES: Final = 10
CPU_S: Final = 5.0
"""CPU time limit of one step: an input, or a batch of them."""
MEMORY: Final = 4 << 30
CURRENT: Final = "current.bin"
CURRENT_BYTES: Final = 64 * (LONGEST + 8)


class Figures(msgspec.Struct):
    """Result of a campaign.

    Attributes:
        executions: Number of inputs that were run.
        kinds: Number of distinct outcomes.
        failures: Files of inputs that failed.
    """

    executions: int = 0
    kinds: int = 0
    failures: list[str] = []


class Failures:
    """Inputs that failed, one per place in the code.

    Args:
        folder: Folder in which they are saved.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: set[str] = set()
        self.files: list[str] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._file = (folder / CURRENT).open("w+b")
        self._file.truncate(CURRENT_BYTES)
        self._current = mmap.mmap(self._file.fileno(), CURRENT_BYTES)

    def begin(self, data: bytes) -> None:
        """Save an input before it is run."""
        self._current[:8] = len(data).to_bytes(8, "little")
        self._current[8 : 8 + len(data)] = data

    def add(self, data: bytes, error: BaseException) -> None:
        """Save an input that failed, unless one has failed at the same place before."""
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{type(error).__name__} {frames[-1].filename}:{frames[-1].lineno}"
        if place in self._seen or len(self.files) == MOST_FAILURES:
            return
        self._seen.add(place)
        path = self._folder / f"{hashlib.sha256(data).hexdigest()[:12]}.bin"
        path.write_bytes(data)
        text = "".join(traceback.format_exception(error, limit=12))
        path.with_suffix(".txt").write_text(text[-20_000:], errors="replace")
        self.files.append(str(path))

    def close(self) -> None:
        """Remove the file of the current input: the campaign has ended by itself."""
        self._current.close()
        self._file.close()
        (self._folder / CURRENT).unlink()


def interrupted(folder: Path) -> bytes | None:
    """The input that was running when a campaign's process died; None if it ended by itself."""
    path = folder / CURRENT
    if not path.exists():
        return None
    raw = path.read_bytes()
    return raw[8 : 8 + int.from_bytes(raw[:8], "little")]


class SlowError(Exception):
    """A step took too much CPU time."""


def _too_slow(_number: int, _frame: FrameType | None) -> None:
    raise SlowError(f"more than {CPU_S:g} s of CPU time")


def timed(step: Callable[[], None]) -> None:
    """Run a step within its limit of CPU time.

    Raises:
        SlowError: If it took longer.
    """
    signal.setitimer(signal.ITIMER_PROF, CPU_S)
    try:
        step()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def begin() -> None:
    """Install the signal handler of :func:`timed`."""
    signal.signal(signal.SIGPROF, _too_slow)


def campaign(target: "Target", seconds: float, seed: int, failures: Failures) -> Figures:
    """Mutate and run inputs until the time is up."""
    rng = random.Random(seed)
    mutator = Mutator(rng)
    corpus: list[bytes] = list(target.seeds)
    figures, kinds = Figures(), set[str]()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        first = figures.executions < len(target.seeds)
        data = corpus[figures.executions] if first else _next(mutator, rng, corpus, target.seeds)
        failures.begin(data)
        figures.executions += 1
        outcome: list[str] = []
        try:
            timed(partial(_run, target, data, outcome))
        except Exception as error:  # noqa: BLE001 - any exception is a failure
            failures.add(data, error)
            continue
        if outcome[0] not in kinds:
            kinds.add(outcome[0])
            if len(corpus) < MOST_KEPT:
                corpus.append(data)
    figures.kinds, figures.failures = len(kinds), failures.files
    return figures


def _run(target: "Target", data: bytes, outcome: list[str]) -> None:
    outcome.append(target.run(data))


def _next(
    mutator: Mutator, rng: random.Random, corpus: Sequence[bytes], seeds: Sequence[bytes]
) -> bytes:
    """Mutate a good input half of the time, otherwise any of the corpus."""
    return mutator.mutate(rng.choice(seeds if rng.random() < 0.5 else corpus), corpus)


def main() -> None:
    """Run the campaign that the command line names."""
    name, seconds, seed, folder = sys.argv[1:]
    from chaos.fuzz.targets import all_targets  # noqa: PLC0415 - the scanner's child has none

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    begin()
    failures = Failures(Path(folder))
    figures = campaign(all_targets()[name], float(seconds), int(seed), failures)
    failures.close()
    print(msgspec.json.encode(figures).decode())


if __name__ == "__main__":
    main()
