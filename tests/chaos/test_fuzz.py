"""The fuzzers, and a campaign of eight seconds."""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.fuzz import scanner
from chaos.fuzz.__main__ import ROOT, SCANNER
from chaos.fuzz.campaign import Failures, SlowError, begin, campaign, interrupted, timed
from chaos.fuzz.mutation import LONGEST, Mutator
from chaos.fuzz.targets import Target, all_targets


@pytest.mark.slow
def test_eight_seconds_of_fuzzing_find_nothing(tmp_path: Path) -> None:
    """Every target tries inputs, and none fails; ``make fuzz`` takes longer."""
    done = subprocess.run(
        [sys.executable, "-m", "chaos.fuzz", "--minutes", str(8 / 60), "--out", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    logs = "".join(path.read_text()[-2000:] for path in tmp_path.glob("*/*.txt"))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    rows = re.findall(r"│ (\S+)\s+│\s+\d+\s+│\s+([\d,]+)", done.stdout)
    assert {name for name, _ in rows} == {SCANNER, *all_targets()}
    assert all(int(count.replace(",", "")) > 0 for _, count in rows)


@pytest.mark.parametrize("name", list(all_targets()))
def test_seeds_are_good_inputs(name: str) -> None:
    """The seed inputs are valid."""
    target = all_targets()[name]
    assert target.run(target.seeds[0]) in {"read", "in force", "below", "passed", "example"}


def test_mutation_follows_its_seed() -> None:
    """The same seed gives the same inputs, most of them changed, all of them bounded."""
    corpus = [b'{"id":"1","imp":[{}]}', b"", b"\x00" * 300]
    one, other = Mutator(random.Random(5)), Mutator(random.Random(5))
    made = [one.mutate(corpus[n % 3], corpus) for n in range(600)]
    assert made == [other.mutate(corpus[n % 3], corpus) for n in range(600)]
    assert sum(data != corpus[n % 3] for n, data in enumerate(made)) > 400
    assert max(map(len, made)) <= LONGEST


def test_a_fault_is_found_and_kept(tmp_path: Path) -> None:
    """An input that raises is written down with its traceback, once per place in the code."""

    def run(data: bytes) -> str:
        if b"7" in data:
            raise ZeroDivisionError("seven")
        return "fine"

    failures = Failures(tmp_path)
    figures = campaign(Target([b"123456"], run), 2.0, 1, failures)
    (kept,) = figures.failures
    assert b"7" in Path(kept).read_bytes()
    assert "ZeroDivisionError: seven" in Path(kept).with_suffix(".txt").read_text()
    assert figures.executions > 100
    failures.close()
    assert interrupted(tmp_path) is None


def test_outcomes_of_a_new_kind_are_mutated_further(tmp_path: Path) -> None:
    """What lies three right bytes away is found in steps, where chance alone would not find it."""

    class FoundError(BaseException):
        """Ends the campaign."""

    def run(data: bytes) -> str:
        right = 0
        while right < 3 and data[right : right + 1] == b"\xde\xad\xbe"[right : right + 1]:
            right += 1
        if right == 3:
            raise FoundError
        return str(right)

    failures = Failures(tmp_path)
    with pytest.raises(FoundError):
        campaign(Target([b"..."], run), 120.0, 1, failures)
    failures.close()


def test_what_takes_too_long_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processor time counts, so that a busy machine is no fault."""
    monkeypatch.setattr("chaos.fuzz.campaign.CPU_S", 0.3)
    begin()

    def spin() -> None:
        while True:
            pass

    with pytest.raises(SlowError):
        timed(spin)


def test_the_input_of_a_process_that_died_is_there(tmp_path: Path) -> None:
    """It was saved before it was run."""
    code = (
        "import os, sys; from pathlib import Path; from chaos.fuzz.campaign import Failures; "
        "Failures(Path(sys.argv[1])).begin(b'deadly'); os.abort()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False)
    assert done.returncode != 0
    assert interrupted(tmp_path) == b"deadly"


def test_the_scanner_runs_under_its_sanitisers(tmp_path: Path) -> None:
    """What is fuzzed is built with them, and a write beyond a block ends the process."""
    library = scanner.build(tmp_path)
    assert b"__asan_" in library.read_bytes()
    assert b"__ubsan_" in library.read_bytes()
    code = "import ctypes; ctypes.memset(ctypes.create_string_buffer(8), 0, 500)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | scanner.environment(), capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert b"heap-buffer-overflow" in done.stderr
