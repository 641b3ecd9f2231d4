"""A campaign against one target, in a process of its own.

    python -m chaos.fuzz.campaign TARGET SECONDS SEED FOLDER

Every input lies in a mapped file before it is tried, so that it is there even if the process dies
of it. An input that fails is kept with its traceback; one of a new kind of outcome is mutated
further. The last line on standard output are the figures.
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
"""Processor time of one step: an input, or a batch of them."""
MEMORY: Final = 4 << 30
CURRENT: Final = "current.bin"
CURRENT_BYTES: Final = 64 * (LONGEST + 8)


class Figures(msgspec.Struct):
    """What a campaign did.

    Attributes:
        executions: Inputs that were tried.
        kinds: Kinds of outcome that were seen.
        failures: Files of inputs that failed.
    """

    executions: int = 0
    kinds: int = 0
    failures: list[str] = []


class Failures:
    """Inputs that failed, one per place in the code.

    Args:
        folder: Where they are written.
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
        """Remember an input before it is tried."""
        self._current[:8] = len(data).to_bytes(8, "little")
        self._current[8 : 8 + len(data)] = data

    def add(self, data: bytes, error: BaseException) -> None:
        """Keep an input that failed, if nothing failed there before."""
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
        """Nothing is being tried any more."""
        self._current.close()
        self._file.close()
        (self._folder / CURRENT).unlink()


def interrupted(folder: Path) -> bytes | None:
    """The input at which a campaign's process ended, if it did not end by itself."""
    path = folder / CURRENT
    if not path.exists():
        return None
    raw = path.read_bytes()
    return raw[8 : 8 + int.from_bytes(raw[:8], "little")]


class SlowError(Exception):
    """A step took too much processor time."""


def _too_slow(_number: int, _frame: FrameType | None) -> None:
    raise SlowError(f"more than {CPU_S:g} s of processor time")


def timed(step: Callable[[], None]) -> None:
    """Run a step within its processor time.

    Raises:
        SlowError: If it took more.
    """
    signal.setitimer(signal.ITIMER_PROF, CPU_S)
    try:
        step()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def begin() -> None:
    """Make ready for :func:`timed`."""
    signal.signal(signal.SIGPROF, _too_slow)


def campaign(target: "Target", seconds: float, seed: int, failures: Failures) -> Figures:
    """Mutate and run until time is up."""
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
            timed(lambda data=data, outcome=outcome: outcome.append(target.run(data)))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure
            failures.add(data, error)
            continue
        if outcome[0] not in kinds:
            kinds.add(outcome[0])
            if len(corpus) < MOST_KEPT:
                corpus.append(data)
    figures.kinds, figures.failures = len(kinds), failures.files
    return figures


def _next(
    mutator: Mutator, rng: random.Random, corpus: Sequence[bytes], seeds: Sequence[bytes]
) -> bytes:
    """Half of the time from a good input, else from one of an uncommon outcome."""
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
