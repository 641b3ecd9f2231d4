"""Fuzzes the compiled scanner under the address and undefined-behaviour sanitisers.

    python -m chaos.fuzz.scanner LIBRARY SEEDS SECONDS SEED FOLDER

The extension is built with the sanitisers (by gcc or clang, whichever ``CC`` or the path has) and
replaces the installed one. Values are scanned in batches: one from the mutator, and others that
differ from it in a few bytes, which numpy makes fifty times faster. For some batches the result is
compared with that of the extractor in Python.
"""

import importlib.util
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import orjson
import xxhash

EXTENSION: Final = "models.features._scan"


def replace_extension(library: Path) -> None:
    """Import the sanitised extension in place of the installed one."""
    found = importlib.util.spec_from_file_location(EXTENSION, library)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[EXTENSION] = module
    found.loader.exec_module(module)


if __name__ == "__main__":
    replace_extension(Path(sys.argv[1]))

from chaos.fuzz.campaign import Failures, Figures, begin, timed  # noqa: E402
from chaos.fuzz.mutation import LONGEST, Mutator  # noqa: E402
from models.features import Extractor, FeatureSpec  # noqa: E402 - with the one in place
from models.features.lenient_json import loads  # noqa: E402
from tests.models.features.arbitrary import EVERY_KIND  # noqa: E402

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "models" / "features" / "native" / "_scan.c"
BATCH: Final = 64
COMPARED: Final = 8
"""One in so many batches is compared with Python."""
MAX_BYTES: Final = LONGEST
SIGNIFICANT: Final = b'"\\{}[]:,0123456789eE+-.tfnu \t\n\r\x00\x1f\x7f\x80\xc3\xed\xf0\xff'
"""Bytes with a meaning in JSON or in UTF-8."""
STAMPS: Final = (-1, 1_767_268_800_123, 1_767_268_800, 1_767_268_800_123_456, 2**63 - 1, -(2**63))
"""Timestamps of records, in every unit, and some that are invalid."""
RUNTIMES: Final = {"clang": "libclang_rt.asan-x86_64.so", "gcc": "libasan.so"}


class BuildError(RuntimeError):
    """The scanner cannot be built with sanitisers on this machine."""


def compiler() -> str:
    """The C compiler.

    Raises:
        BuildError: If there is none.
    """
    for name in (os.environ.get("CC", ""), "gcc", "clang", "cc"):
        if name and shutil.which(name):
            return name
    raise BuildError("a C compiler is needed: install gcc or clang")


def build(folder: Path) -> Path:
    """Build the extension with sanitisers; returns the path of the library.

    Raises:
        BuildError: With the compiler's message.
    """
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / "_scan.so"
    flags = ["-shared", "-fPIC", "-O1", "-g", "-fno-omit-frame-pointer"]
    sanitisers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    include = f"-I{sysconfig.get_paths()['include']}"
    command = [compiler(), *flags, *sanitisers, include, str(SOURCE), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)}: {done.stderr.strip()[-2000:]}")
    return library


def environment() -> dict[str, str]:
    """Environment variables of a process that loads the library."""
    runtime = RUNTIMES["clang" if "clang" in compiler() else "gcc"]
    found = subprocess.run(
        [compiler(), f"-print-file-name={runtime}"], capture_output=True, text=True, check=True
    )
    return {
        "LD_PRELOAD": found.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYTHONMALLOC": "malloc",  # every object is an allocation of its own, with a red zone
    }


def scan(corpus: Sequence[bytes], seconds: float, seed: int, failures: Failures) -> Figures:
    """Mutate requests and scan them until the time is up."""
    specs = [FeatureSpec.parse(EVERY_KIND, "every-kind")]
    specs += [FeatureSpec.load(name) for name in ("openrtb", "jd")]
    pairs = [
        (Extractor(spec.features, native=True), Extractor(spec.features, native=False))
        for spec in specs
    ]
    rng, bytes_rng = random.Random(seed), np.random.default_rng(seed)
    mutator = Mutator(rng)
    figures = Figures(kinds=len(pairs))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        native, python = rng.choice(pairs)
        values = batch(mutator.mutate(rng.choice(corpus), corpus), bytes_rng)
        failures.begin(b"\n".join(values))
        reference = python if rng.randrange(COMPARED) == 0 else None
        try:
            timed(partial(compare, values, native, reference))
        except Exception as error:  # noqa: BLE001 - any exception is a failure
            failures.add(b"\n".join(values), error)
        figures.executions += len(values)
    figures.failures = failures.files
    return figures


def batch(value: bytes, rng: np.random.Generator) -> list[bytes]:
    """A value, and copies with up to four bytes replaced, some of them truncated."""
    size = len(value)
    if not size:
        return [value]
    rows = np.tile(np.frombuffer(value, np.uint8), (BATCH, 1))
    places = rng.integers(0, size, (BATCH, 4))
    places = np.where(rng.random((BATCH, 4)) < 0.5, places[:, :1], places)
    drawn = np.where(
        rng.random((BATCH, 4)) < 0.7,
        rng.choice(np.frombuffer(SIGNIFICANT, np.uint8), (BATCH, 4)),
        rng.integers(0, 256, (BATCH, 4), np.uint8),
    )
    np.put_along_axis(rows, places, drawn, axis=1)
    ends = np.where(rng.random(BATCH) < 0.1, rng.integers(0, size, BATCH), size).tolist()
    return [value, *(row[:end].tobytes() for row, end in zip(rows[1:], ends[1:], strict=True))]


def compare(values: list[bytes], native: Extractor, python: Extractor | None) -> None:
    """Scan, and compare the result with that of the reference, if there is one."""
    times_N = np.resize(np.array(STAMPS, np.int64), len(values))
    found = native.scan(values, times_N, MAX_BYTES)
    if python is None:
        return
    read = [n for n, given in enumerate(found.request_ids) if given is not None]
    documents = [loads(values[n]) for n in read]
    expected_NC = python.extract(documents, times_N[read])
    for n, document, expected_C in zip(read, documents, expected_NC, strict=True):
        identity = document["id"]
        assert found.request_ids[n] == identity, values[n]
        assert int(found.hashes_N[n]) == xxhash.xxh3_64_intdigest(identity.encode()), values[n]
        assert found.ids_NC[n].tolist() == expected_C.tolist(), values[n]


def seeds() -> list[bytes]:
    """Simulated requests, and small ones with every kind of value."""
    from trainer.simulation.simulator import Simulator  # noqa: PLC0415 - not with sanitisers

    made = list(Simulator(seed=3, requests_per_day=20_000).batch(0, 60).values)
    small = {
        "id": "1",
        "imp": [{"bidfloor": 0.5, "banner": {"format": [{"w": 300}, {"w": 728}]}}],
        "device": {"os": "a", "w": 640, "geo": {"utcoffset": 60}},
        "site": {"cat": ["IAB1", "IAB2-3"], "id": "s"},
        "user": {"data": [{"segment": [{"id": "x"}, {"id": 5}]}], "keywords": "a, b,\u3000c"},
        "ext": {"grid": [[1, "x"], ["y"], 3], "ts": 1_700_000_000_000},
    }
    return [*made, orjson.dumps(small), orjson.dumps(small, option=orjson.OPT_INDENT_2)]


def main() -> None:
    """Run the campaign that the command line names."""
    _, corpus, seconds, seed, folder = sys.argv[1:]
    begin()
    failures = Failures(Path(folder))
    values = msgspec.msgpack.decode(Path(corpus).read_bytes(), type=list[bytes])
    figures = scan(values, float(seconds), int(seed), failures)
    failures.close()
    print(msgspec.json.encode(figures).decode())


if __name__ == "__main__":
    main()
