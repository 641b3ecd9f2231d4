"""A candidate's trial: its first requests are scored in a process of its own, within limits.

What an announced artifact costs and gives is not known before it runs: its spec is parsed, its
model optimised and executed. So a child process does all of that first, with bounded time and
memory, on ids at the edges, at random, and of recent requests where the spec is the serving one's.
A worker loads an artifact only after that. The child gets no secrets: its environment is empty.

The module is the child, too: ``python -m models.artifact.trial`` reads a :class:`Job` from its
standard input and writes a :class:`Verdict`, both in MessagePack.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import orjson

from models.artifact import (
    Artifact,
    ArtifactError,
    ArtifactFault,
    ArtifactFiles,
    open_artifact,
)
from models.artifact.manifest import MANIFEST_FILE, SPEC_FILE, STUDENT_FILE, Manifest
from models.artifact.scorer import DEFAULT_BATCH, Scorer, ScoringError
from models.bounds import MAX_REQUEST_US, MAX_TRIAL_BYTES, MAX_TRIAL_CPU_S, MAX_TRIAL_S
from models.features import Extractor
from models.process.isolated import module_command

Ids = npt.NDArray[np.int32]

ALONE: Final = 16
"""Requests that are scored alone, too: nobody's score may depend on who stands beside him."""
ALONE_TOLERANCE: Final = 1e-4
"""Absolute and relative; sums of a batch are rounded in another order than those of one."""
TIMED: Final = 3
"""Full batches that are timed; the fastest counts, for others disturb a machine."""
COPIES: Final = 5
"""Of the student's file while it is read, written anew and laid out by the runtime."""
SAMPLE: Final = b'{"id":"1","imp":[{"id":"1"}],"site":{"id":"s"},"user":{"id":"u"},"tmax":100}'
_VARIABLES: Final = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
_ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Job(msgspec.Struct):
    """What to try.

    Attributes:
        url: Where the files came from, for messages.
        manifest_sha256: Hash of the manifest.
        contents: Files by name; verified.
        spec_hash: Spec of the recent ids.
        recent: Recent ids, int32 of shape (rows, columns), C order.
        rows: How many.
    """

    url: str
    manifest_sha256: str
    contents: dict[str, bytes]
    spec_hash: str
    recent: bytes
    rows: int


class Verdict(msgspec.Struct):
    """What came of it.

    Attributes:
        code: What is wrong, "" for nothing.
        message: In words.
        us: Processor time per request, microseconds.
    """

    code: str
    message: str
    us: float


def hold_trial(
    files: ArtifactFiles, recent: tuple[str, Ids] | None = None, limit_s: float = MAX_TRIAL_S
) -> float:
    """Try a candidate in a child process.

    Args:
        files: Its files.
        recent: Hash of a spec and ids that it extracted from recent requests, shape (N, C).
        limit_s: Wall time after which the child is killed.

    Returns:
        Processor time per request, microseconds.

    Raises:
        ArtifactError: With a code for what is wrong; ``untried`` if no child could be started.
    """
    spec_hash, ids_NC = recent or ("", np.empty((0, 0), np.int32))
    names = (MANIFEST_FILE, SPEC_FILE, STUDENT_FILE)
    contents = {name: files.contents[name] for name in names}
    job = Job(files.url, files.manifest_sha256, contents, spec_hash, ids_NC.tobytes(), len(ids_NC))
    environment = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    try:
        child = subprocess.run(  # noqa: S603 - our own module
            module_command(__name__),
            input=msgspec.msgpack.encode(job),
            capture_output=True,
            timeout=limit_s,
            env=environment | _ONE_THREAD,
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ArtifactError(
            ArtifactFault.TOO_SLOW, f"{files.url}: its trial took more than {limit_s:g} s"
        ) from error
    except OSError as error:
        raise ArtifactError(
            ArtifactFault.UNTRIED, f"{files.url}: no process could be started for it: {error}"
        ) from error
    if child.returncode != 0:
        raise _ended(files.url, child.returncode, child.stderr)
    verdict = msgspec.msgpack.decode(child.stdout, type=Verdict)
    if verdict.code:
        raise ArtifactError(ArtifactFault(verdict.code), verdict.message)
    return verdict.us


def _ended(url: str, status: int, log: bytes) -> ArtifactError:
    """What it means that the child came to no verdict."""
    if status > 0:
        last = log.decode(errors="replace").strip().rpartition("\n")[2]
        return ArtifactError(
            ArtifactFault.UNTRIED, f"{url}: its trial ended with status {status}: {last}"
        )
    number = signal.Signals(-status)
    if number == signal.SIGALRM:
        return ArtifactError(ArtifactFault.TOO_SLOW, f"{url}: its trial took too long")
    return ArtifactError(
        ArtifactFault.BAD_MODEL,
        f"{url}: its trial was ended by {number.name}; it may take {MAX_TRIAL_CPU_S} s of "
        f"processor time and {MAX_TRIAL_BYTES >> 20} MiB",
    )


def try_artifact(artifact: Artifact, recent_NC: Ids | None = None, seed: int = 0) -> float:
    """Score requests with an artifact and look at what comes out.

    Args:
        artifact: The candidate.
        recent_NC: Ids of recent requests, extracted with its own spec.
        seed: Of the ids at random.

    Returns:
        Processor time per request, microseconds.

    Raises:
        ArtifactError: With code ``bad-model`` or ``spec-mismatch``.
    """
    where = f"{artifact.url} ({artifact.manifest.version})"
    _try_extractor(artifact, where)
    scorer = Scorer(artifact)
    blocks = _blocks(artifact, np.random.default_rng(seed))
    if recent_NC is not None and recent_NC.shape[1:] == (artifact.spec.columns,):
        blocks.append(recent_NC)
    try:
        for ids_NC in blocks:
            _compare_alone(scorer, ids_NC, where)
        us = min(_time(scorer, blocks[0]) for _ in range(TIMED)) / len(blocks[0]) * 1e6
    except ScoringError as error:
        raise ArtifactError(ArtifactFault.BAD_MODEL, str(error)) from error
    if us > MAX_REQUEST_US:
        raise ArtifactError(
            ArtifactFault.BAD_MODEL,
            f"{where}: a request takes {us:.0f} us, more than {MAX_REQUEST_US:.0f}",
        )
    return us


def _try_extractor(artifact: Artifact, where: str) -> None:
    """Extract a request's features, each within its own rows."""
    low_C, high_C = _ranges(artifact)
    try:
        extractor = Extractor(artifact.spec.features)
        extractor.scan([SAMPLE], np.zeros(1, np.int64), len(SAMPLE))
        made_NC = extractor.extract([{}, orjson.loads(SAMPLE)], np.zeros(2, np.int64))
    except Exception as error:  # whatever a spec of someone else's makes it raise
        raise ArtifactError(
            ArtifactFault.SPEC_MISMATCH,
            f"{where}: its features cannot be extracted: {type(error).__name__}: {error}",
        ) from error
    if not ((low_C <= made_NC) & (made_NC < high_C)).all():
        raise ArtifactError(ArtifactFault.SPEC_MISMATCH, f"{where}: ids leave their features' rows")


def _ranges(artifact: Artifact) -> tuple[Ids, Ids]:
    """First row of every column's feature, and the one after its last; shape (C,)."""
    features = artifact.spec.features
    slots = [feature.slots for feature in features]
    low = np.array([feature.offset for feature in features], np.int32)
    size = np.array([feature.size for feature in features], np.int32)
    low_C = np.repeat(low, slots)
    return low_C, low_C + np.repeat(size, slots)


def _blocks(artifact: Artifact, rng: np.random.Generator) -> list[Ids]:
    """Ids at random within their features' rows; at the edges; at random within all rows."""
    low_C, high_C = _ranges(artifact)
    shape = (DEFAULT_BATCH, len(low_C))
    own_NC = rng.integers(low_C, high_C, shape, np.int32)
    edges_NC = np.where(rng.random(shape) < 0.5, low_C, high_C - 1).astype(np.int32)
    edges_NC[0], edges_NC[1] = low_C, high_C - 1
    any_NC = rng.integers(0, artifact.spec.rows, shape, np.int32)
    return [own_NC, edges_NC, any_NC]


def _compare_alone(scorer: Scorer, ids_NC: Ids, where: str) -> None:
    """Score a block, and some of its requests alone."""
    together: Sequence[npt.NDArray[np.float32]] = scorer.score(ids_NC)
    for row in range(min(ALONE, len(ids_NC))):
        alone = scorer.score(ids_NC[row : row + 1])
        for some_NT, one_1T in zip(together, alone, strict=True):
            if not np.allclose(some_NT[row], one_1T[0], ALONE_TOLERANCE, ALONE_TOLERANCE):
                raise ArtifactError(
                    ArtifactFault.BAD_MODEL,
                    f"{where}: what it says of a request depends on those beside it",
                )


def _time(scorer: Scorer, ids_NC: Ids) -> float:
    start = time.thread_time()
    scorer.score(ids_NC)
    return time.thread_time() - start


def _bound(model_bytes: int) -> None:
    """Limit this process, from here on: time, memory, files."""
    limits = {
        resource.RLIMIT_CPU: MAX_TRIAL_CPU_S,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 16,
    }
    if sys.platform == "linux":  # elsewhere address space is not counted
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limits[resource.RLIMIT_AS] = used + MAX_TRIAL_BYTES + COPIES * model_bytes
        with suppress(OSError):  # if memory runs out, this process goes first, not the worker
            Path("/proc/self/oom_score_adj").write_text("1000")
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))
    signal.alarm(int(MAX_TRIAL_S))


def _judge(job: Job) -> Verdict:
    try:
        manifest = Manifest.model_validate_json(job.contents[MANIFEST_FILE])
        files = ArtifactFiles(job.url, manifest, job.manifest_sha256, job.contents)
        artifact = open_artifact(files)
        recent_NC = None
        if artifact.spec.hash == job.spec_hash and job.rows:
            recent_NC = np.frombuffer(job.recent, np.int32).reshape(job.rows, -1)
        return Verdict("", "", try_artifact(artifact, recent_NC))
    except ArtifactError as error:
        return Verdict(error.code, error.message, 0.0)
    except MemoryError:
        return Verdict(
            ArtifactFault.TOO_LARGE,
            f"{job.url}: its trial needs more than {MAX_TRIAL_BYTES >> 20} MiB",
            0.0,
        )


def main() -> None:
    """Try the artifact on standard input; the verdict goes to standard output."""
    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Job)
    _bound(len(job.contents[STUDENT_FILE]))
    sys.stdout.buffer.write(msgspec.msgpack.encode(_judge(job)))


if __name__ == "__main__":
    main()
