"""The trial of a candidate artifact: a child process scores requests with it, within limits.

The cost and the results of an announced artifact are unknown until its spec is parsed and its model
optimised and executed. So a child process does this first, with limited time and memory, on its
canary batch, whose answers are known (:mod:`models.artifact.canary`), on ids at the edges of their
ranges, on random ids, and on those of recent requests if the candidate has the serving spec. A
worker loads an artifact only if its trial succeeds. The child gets no secrets: its environment is
empty.

This module is also the child: ``python -m models.artifact.trial`` reads a :class:`TrialJob` from
standard input and writes a :class:`TrialResult` to standard output, both in MessagePack.
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
from models.artifact.manifest import (
    CANARY_FILE,
    MANIFEST_FILE,
    SPEC_FILE,
    STUDENT_FILE,
    Manifest,
)
from models.artifact.scorer import DEFAULT_BATCH, Scorer, ScoringError
from models.bounds import MAX_REQUEST_US, MAX_TRIAL_BYTES, MAX_TRIAL_CPU_S, MAX_TRIAL_S
from models.features import Extractor
from models.features.feature import Ids
from models.process.isolated import module_command

SINGLES: Final = 16
"""Requests that are also scored one by one: a score must not depend on the rest of the batch."""
TOLERANCE: Final = 1e-4
"""Absolute and relative; the order of summation differs between a batch and a single request."""
TIMED: Final = 3
"""Full batches that are timed; the fastest counts, because other processes may interfere."""
COPIES: Final = 5
"""Copies of the student's file in memory while it is read, rewritten and loaded."""
SAMPLE: Final = b'{"id":"1","imp":[{"id":"1"}],"site":{"id":"s"},"user":{"id":"u"},"tmax":100}'
_VARIABLES: Final = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
_ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class TrialJob(msgspec.Struct):
    """Input of a trial.

    Attributes:
        url: URL of the artifact, for messages.
        manifest_sha256: Hash of the manifest.
        contents: Verified content of the files by name.
        spec_hash: Hash of the spec that extracted the recent ids.
        recent: Recent ids, int32 of shape (rows, columns), C order.
        rows: Number of rows.
        cpu_s: Processor time that the child may take, seconds.
    """

    url: str
    manifest_sha256: str
    contents: dict[str, bytes]
    spec_hash: str
    recent: bytes
    rows: int
    cpu_s: int


class TrialResult(msgspec.Struct):
    """Result of a trial.

    Attributes:
        code: Why the artifact was refused; "" if it was not.
        message: The same for people.
        us: CPU time per request, microseconds.
    """

    code: str
    message: str
    us: float


def hold_trial(
    files: ArtifactFiles,
    recent: tuple[str, Ids] | None = None,
    limit_s: float = MAX_TRIAL_S,
    cpu_s: int = MAX_TRIAL_CPU_S,
) -> float:
    """Try a candidate in a child process.

    Args:
        files: Files of the candidate.
        recent: Hash of a spec, and ids that it extracted from recent requests, shape (N, C).
        limit_s: Wall time after which the child is killed.
        cpu_s: Processor time after which it is ended.

    Returns:
        CPU time per request, microseconds.

    Raises:
        ArtifactError: With the code of the reason; ``untried`` if no child could be started.
    """
    spec_hash, ids_NC = recent or ("", np.empty((0, 0), np.int32))
    names = (MANIFEST_FILE, SPEC_FILE, STUDENT_FILE, CANARY_FILE)
    contents = {name: files.contents[name] for name in names if name in files.contents}
    recent_rows = (spec_hash, ids_NC.tobytes(), len(ids_NC))
    job = TrialJob(files.url, files.manifest_sha256, contents, *recent_rows, cpu_s)
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
        raise _ended(job, child.returncode, child.stderr)
    result = msgspec.msgpack.decode(child.stdout, type=TrialResult)
    if result.code:
        raise ArtifactError(ArtifactFault(result.code), result.message)
    return result.us


def _ended(job: TrialJob, status: int, log: bytes) -> ArtifactError:
    """The error for a child that ended without a result."""
    url = job.url
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
        f"{url}: its trial was ended by {number.name}; it may take {job.cpu_s} s of "
        f"processor time and {MAX_TRIAL_BYTES >> 20} MiB",
    )


def try_artifact(artifact: Artifact, recent_NC: Ids | None = None, seed: int = 0) -> float:
    """Score requests with an artifact and check the results.

    Args:
        artifact: The candidate.
        recent_NC: Ids of recent requests, extracted by its spec.
        seed: Seed of the random ids.

    Returns:
        CPU time per request, microseconds.

    Raises:
        ArtifactError: With code ``bad-model``, ``canary-mismatch`` or ``spec-mismatch``.
    """
    where = f"{artifact.url} ({artifact.manifest.version})"
    _try_extractor(artifact, where)
    scorer = Scorer(artifact)
    blocks = _blocks(artifact, np.random.default_rng(seed))
    if recent_NC is not None and recent_NC.shape[1:] == (artifact.spec.columns,):
        blocks.append(recent_NC)
    try:
        scorer.answer_canary()
        for ids_NC in blocks:
            _compare_singles(scorer, ids_NC, where)
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
    """Check that features can be extracted, and that ids are within the rows of their features."""
    low_C, high_C = _ranges(artifact)
    try:
        extractor = Extractor(artifact.spec.features)
        extractor.scan([SAMPLE], np.zeros(1, np.int64), len(SAMPLE))
        ids_NC = extractor.extract([{}, orjson.loads(SAMPLE)], np.zeros(2, np.int64))
    except Exception as error:  # an untrusted spec may make it raise anything
        raise ArtifactError(
            ArtifactFault.SPEC_MISMATCH,
            f"{where}: its features cannot be extracted: {type(error).__name__}: {error}",
        ) from error
    if not ((low_C <= ids_NC) & (ids_NC < high_C)).all():
        raise ArtifactError(
            ArtifactFault.SPEC_MISMATCH, f"{where}: ids are outside their features' rows"
        )


def _ranges(artifact: Artifact) -> tuple[Ids, Ids]:
    """First row of every column's feature, and the row after its last one; shape (C,)."""
    features = artifact.spec.features
    slots = [feature.slots for feature in features]
    low = np.array([feature.offset for feature in features], np.int32)
    size = np.array([feature.size for feature in features], np.int32)
    low_C = np.repeat(low, slots)
    return low_C, low_C + np.repeat(size, slots)


def _blocks(artifact: Artifact, rng: np.random.Generator) -> list[Ids]:
    """Random ids within their features' rows; ids at the edges of these; random ids of all rows."""
    low_C, high_C = _ranges(artifact)
    shape = (DEFAULT_BATCH, len(low_C))
    own_NC = rng.integers(low_C, high_C, shape, np.int32)
    edges_NC = np.where(rng.random(shape) < 0.5, low_C, high_C - 1).astype(np.int32)
    edges_NC[0], edges_NC[1] = low_C, high_C - 1
    any_NC = rng.integers(0, artifact.spec.rows, shape, np.int32)
    return [own_NC, edges_NC, any_NC]


def _compare_singles(scorer: Scorer, ids_NC: Ids, where: str) -> None:
    """Check that requests get the same result in a batch and alone."""
    together: Sequence[npt.NDArray[np.float32]] = scorer.score(ids_NC)
    for row in range(min(SINGLES, len(ids_NC))):
        alone = scorer.score(ids_NC[row : row + 1])
        for some_NT, one_1T in zip(together, alone, strict=True):
            if not np.allclose(some_NT[row], one_1T[0], TOLERANCE, TOLERANCE):
                raise ArtifactError(
                    ArtifactFault.BAD_MODEL,
                    f"{where}: the score of a request depends on the other requests of its batch",
                )


def _time(scorer: Scorer, ids_NC: Ids) -> float:
    start = time.thread_time()
    scorer.score(ids_NC)
    return time.thread_time() - start


def _set_limits(model_bytes: int, cpu_s: int) -> None:
    """Limit time, memory and files of this process from now on."""
    limits = {
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 16,
    }
    if sys.platform == "linux":  # elsewhere there is no /proc
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limits[resource.RLIMIT_AS] = used + MAX_TRIAL_BYTES + COPIES * model_bytes
        with suppress(OSError):  # out of memory, the kernel kills this process, not the worker
            Path("/proc/self/oom_score_adj").write_text("1000")
    for kind, limit in limits.items():
        resource.setrlimit(kind, (limit, limit))
    signal.alarm(int(MAX_TRIAL_S))


def _run(job: TrialJob) -> TrialResult:
    try:
        manifest = Manifest.model_validate_json(job.contents[MANIFEST_FILE])
        files = ArtifactFiles(job.url, manifest, job.manifest_sha256, job.contents)
        artifact = open_artifact(files)
        recent_NC = None
        if artifact.spec.hash == job.spec_hash and job.rows:
            recent_NC = np.frombuffer(job.recent, np.int32).reshape(job.rows, -1)
        return TrialResult("", "", try_artifact(artifact, recent_NC))
    except ArtifactError as error:
        return TrialResult(error.code, error.message, 0.0)
    except MemoryError:
        return TrialResult(
            ArtifactFault.TOO_LARGE,
            f"{job.url}: its trial needs more than {MAX_TRIAL_BYTES >> 20} MiB",
            0.0,
        )


def main() -> None:
    """Try the artifact of the job on standard input; write the result to standard output."""
    job = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=TrialJob)
    _set_limits(len(job.contents[STUDENT_FILE]), job.cpu_s)
    sys.stdout.buffer.write(msgspec.msgpack.encode(_run(job)))


if __name__ == "__main__":
    main()
