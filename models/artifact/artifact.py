"""Loading an artifact: a folder with a student, a feature spec and a manifest.

Everything is verified before it is used: the manifest (against the announcement, if there is one),
then the hash of every file, the hash of the spec, the tasks, and every byte of the model. Size and
time of reading are limited (:mod:`models.artifact.folder`). Nothing is ever unpickled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from models.artifact.canary import CanaryBatch, CanaryError
from models.artifact.folder import (
    Deadline,
    DeadlineError,
    FileTooLargeError,
    Folder,
    FolderError,
    MissingFileError,
    NotAFileError,
)
from models.artifact.manifest import (
    CANARY_FILE,
    MANIFEST_FILE,
    SPEC_FILE,
    STUDENT_FILE,
    Manifest,
    sha256,
)
from models.artifact.onnxfile import OnnxFile, OnnxFileError, read_student
from models.artifact.signature import BadSignatureError, PublicKeys, UnsignedError
from models.bounds import (
    MAX_CANARY_BYTES,
    MAX_FEATURES,
    MAX_MANIFEST_BYTES,
    MAX_OTHER_FILE_BYTES,
    MAX_READ_S,
    MAX_SPEC_BYTES,
    MAX_STUDENT_BYTES,
)
from models.errors import UserError
from models.features import FeatureSpec
from models.tasks import TaskSet
from models.validation import first_fault

PRETRAINED_PREFIX: Final = "pretrained:"
PRETRAINED_FOLDER: Final = Path(__file__).parent / "pretrained"
MAX_FILE_BYTES: Final = {
    SPEC_FILE: MAX_SPEC_BYTES,
    STUDENT_FILE: MAX_STUDENT_BYTES,
    CANARY_FILE: MAX_CANARY_BYTES,
}
MAX_MESSAGE: Final = 500
"""Characters of an error message, which may quote a text of any length from a file."""


class ArtifactFault(StrEnum):
    """Reasons for refusing an artifact."""

    OUTSIDE_REGISTRY = "outside-registry"
    UNREACHABLE = "unreachable"
    MISSING_FILE = "missing-file"
    NOT_A_FILE = "not-a-file"
    TOO_LARGE = "too-large"
    TOO_SLOW = "too-slow"
    BAD_MANIFEST = "bad-manifest"
    HASH_MISMATCH = "hash-mismatch"
    UNSIGNED = "unsigned"
    BAD_SIGNATURE = "bad-signature"
    SPEC_MISMATCH = "spec-mismatch"
    TASK_MISMATCH = "task-mismatch"
    OPSET_MISMATCH = "opset-mismatch"
    BAD_MODEL = "bad-model"
    BAD_CANARY = "bad-canary"
    CANARY_MISMATCH = "canary-mismatch"
    """On this machine it does not give the answers that it gave when it was trained."""
    UNTRIED = "untried"
    """The trial could not be run on this machine."""
    FAILED = "failed"
    """It was serving, and failed to score a chunk."""

    @property
    def is_transient(self) -> bool:
        """Whether the same announcement may be usable later, when its folder is complete."""
        return self in _TRANSIENT


_TRANSIENT: Final = frozenset(
    {
        ArtifactFault.UNREACHABLE,
        ArtifactFault.MISSING_FILE,
        ArtifactFault.HASH_MISMATCH,
        ArtifactFault.UNSIGNED,  # it may be signed, and
        ArtifactFault.BAD_SIGNATURE,  # the key may be added, at any time
        ArtifactFault.TOO_SLOW,
        ArtifactFault.UNTRIED,
    }
)
_FAULTS: Final[Mapping[type[FolderError], ArtifactFault]] = {
    MissingFileError: ArtifactFault.MISSING_FILE,
    FileTooLargeError: ArtifactFault.TOO_LARGE,
    NotAFileError: ArtifactFault.NOT_A_FILE,
    DeadlineError: ArtifactFault.TOO_SLOW,
    FolderError: ArtifactFault.UNREACHABLE,
}


class ArtifactError(UserError):
    """An artifact that cannot be used.

    Attributes:
        code: The reason, for metrics and retries.
        message: Which file, what was found, and the fix.
    """

    def __init__(self, code: ArtifactFault, message: str) -> None:
        if len(message) > MAX_MESSAGE:
            message = f"{message[:MAX_MESSAGE]}..."
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class ArtifactFiles:
    """The files of a version, with verified hashes; spec and model are not parsed yet.

    Attributes:
        url: URL of the folder.
        manifest: The manifest.
        manifest_sha256: Hash of ``manifest.json``, as in announcements.
        contents: Content of every file by name, including the manifest.
    """

    url: str
    manifest: Manifest
    manifest_sha256: str
    contents: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified version, ready for :class:`models.artifact.scorer.Scorer`.

    Attributes:
        url: URL of its folder.
        manifest: Its manifest.
        manifest_sha256: Hash of ``manifest.json``, as in announcements.
        spec: Feature spec by which ids are extracted.
        tasks: Tasks in the order of the student's output columns.
        onnx: The verified content of ``student.onnx``, rewritten for the runtime.
        canary: Requests with recorded answers; None if it carries none.
    """

    url: str
    manifest: Manifest
    manifest_sha256: str
    spec: FeatureSpec
    tasks: TaskSet
    onnx: bytes
    canary: CanaryBatch | None = None


def load_artifact(url: str | Path, manifest_sha256: str | None = None) -> Artifact:
    """Read and verify an artifact that the settings or a command line name.

    Args:
        url: A folder, an fsspec URL of one, or ``pretrained:NAME`` for one that ships.
        manifest_sha256: The expected hash of its manifest; None for any.

    Raises:
        ArtifactError: With the code of the reason; the message names the file.
    """
    return open_artifact(fetch_artifact(url, manifest_sha256))


def fetch_artifact(
    url: str | Path,
    manifest_sha256: str | None = None,
    root: str | None = None,
    keys: PublicKeys | None = None,
) -> ArtifactFiles:
    """Read an artifact's files within limits of size and time, and verify their hashes.

    Args:
        url: A folder, an fsspec URL of one, or ``pretrained:NAME`` for one that ships.
        manifest_sha256: The expected hash of its manifest; None for any.
        root: On the local filesystem, the folder that contains all files, after resolving links.
        keys: Keys of which one must have signed it; None if it need not be signed. What ships with
            Weir needs no signature.

    Raises:
        ArtifactError: With the code of the reason; the message names the file.
    """
    resolved = resolve_url(url)
    if str(url).startswith(PRETRAINED_PREFIX):
        keys = None
    try:
        return Deadline(MAX_READ_S).run(
            resolved, lambda: _fetch(Folder(resolved, root), manifest_sha256, keys)
        )
    except FolderError as error:
        fault = _FAULTS[type(error)]
        configured = fault is ArtifactFault.MISSING_FILE and manifest_sha256 is None
        hint = "; check model.artifact or --artifact, which name the folder" if configured else ""
        raise ArtifactError(fault, f"{error}{hint}") from error


def _fetch(folder: Folder, manifest_sha256: str | None, keys: PublicKeys | None) -> ArtifactFiles:
    raw = folder.read(MANIFEST_FILE, MAX_MANIFEST_BYTES)
    digest = sha256(raw)
    if manifest_sha256 not in (None, digest):
        raise ArtifactError(
            ArtifactFault.HASH_MISMATCH,
            f"{folder.url}/{MANIFEST_FILE}: sha256 {digest} found, {manifest_sha256!r} "
            "announced; the folder changed after it was published: publish a new version",
        )
    if keys is not None:
        _check_signature(folder, raw, keys)
    manifest = _parse_manifest(raw, folder.url)
    contents = {MANIFEST_FILE: raw}
    for name in sorted(manifest.files):
        contents[name] = folder.read(name, MAX_FILE_BYTES.get(name, MAX_OTHER_FILE_BYTES))
        if sha256(contents[name]) != manifest.files[name]:
            raise ArtifactError(
                ArtifactFault.HASH_MISMATCH,
                f"{folder.url}/{name}: its content is not what the manifest's hash says",
            )
    return ArtifactFiles(folder.url, manifest, digest, contents)


def _check_signature(folder: Folder, manifest: bytes, keys: PublicKeys) -> None:
    try:
        keys.check(folder, manifest)
    except UnsignedError as error:
        raise ArtifactError(ArtifactFault.UNSIGNED, str(error)) from error
    except BadSignatureError as error:
        raise ArtifactError(ArtifactFault.BAD_SIGNATURE, str(error)) from error


def read_manifest(url: str, root: str | None = None) -> Manifest:
    """The manifest of a version, to be shown: neither its hash nor its signature is verified.

    Args:
        url: The folder of the version.
        root: As for :func:`fetch_artifact`.

    Raises:
        ArtifactError: With the code of the reason; the message names the file.
    """
    try:
        return Deadline(MAX_READ_S).run(
            url,
            lambda: _parse_manifest(Folder(url, root).read(MANIFEST_FILE, MAX_MANIFEST_BYTES), url),
        )
    except FolderError as error:
        raise ArtifactError(_FAULTS[type(error)], str(error)) from error


def open_artifact(files: ArtifactFiles) -> Artifact:
    """Parse spec and model of an artifact whose files were fetched.

    Raises:
        ArtifactError: With the code of the reason; the message names the file.
    """
    manifest, url = files.manifest, files.url
    spec = _parse_spec(files.contents[SPEC_FILE], manifest, url)
    model = _read_model(files.contents[STUDENT_FILE], manifest, url)
    if spec.columns > MAX_FEATURES:
        raise ArtifactError(
            ArtifactFault.SPEC_MISMATCH,
            f"{url}/{SPEC_FILE}: {spec.columns} columns, more than {MAX_FEATURES}",
        )
    if (model.columns, model.tasks) != (spec.columns, len(manifest.tasks)):
        raise ArtifactError(
            ArtifactFault.BAD_MODEL,
            f"{url}/{STUDENT_FILE}: {model.columns} columns in and {model.tasks} out; the spec "
            f"has {spec.columns}, the manifest {len(manifest.tasks)} tasks",
        )
    return Artifact(
        url=url,
        manifest=manifest,
        manifest_sha256=files.manifest_sha256,
        spec=spec,
        tasks=manifest.task_set,
        onnx=model.content,
        canary=_read_canary(files.contents.get(CANARY_FILE), spec, manifest, url),
    )


def write_artifact(folder: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> None:
    """Write an artifact's folder, its manifest last.

    Args:
        folder: The folder; it is created if necessary, and existing files are replaced.
        manifest: The manifest; it must list exactly the files in ``contents``, with their hashes.
        contents: Content of every file except the manifest, by name.

    Raises:
        ArtifactError: With code ``hash-mismatch`` if manifest and contents disagree.
    """
    if manifest.files != {name: sha256(content) for name, content in contents.items()}:
        raise ArtifactError(
            ArtifactFault.HASH_MISMATCH, f"{folder}: the manifest does not list these contents"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_FILE).unlink(missing_ok=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    part = folder / f"{MANIFEST_FILE}.part"
    part.write_bytes(manifest.to_bytes())
    part.replace(folder / MANIFEST_FILE)  # at once: a folder with a manifest is complete


def _parse_manifest(raw: bytes, url: str) -> Manifest:
    try:
        return Manifest.model_validate_json(raw)
    except ValidationError as error:
        raise ArtifactError(
            ArtifactFault.BAD_MANIFEST, f"{url}/{MANIFEST_FILE}: {first_fault(error)}"
        ) from error


def _parse_spec(content: bytes, manifest: Manifest, url: str) -> FeatureSpec:
    try:
        spec = FeatureSpec.parse(content.decode("utf-8"), f"{url}/{SPEC_FILE}")
    except Exception as error:  # an untrusted text may make the parser raise anything
        raise ArtifactError(
            ArtifactFault.SPEC_MISMATCH,
            f"{url}/{SPEC_FILE}: no feature spec: {type(error).__name__}: {error}",
        ) from error
    if spec.hash != manifest.spec_hash:
        raise ArtifactError(
            ArtifactFault.SPEC_MISMATCH,
            f"{url}/{SPEC_FILE}: its hash is {spec.hash}, the manifest says {manifest.spec_hash}",
        )
    return spec


def _read_model(file: bytes, manifest: Manifest, url: str) -> OnnxFile:
    try:
        model = read_student(file)
    except OnnxFileError as error:
        raise ArtifactError(ArtifactFault.BAD_MODEL, f"{url}/{STUDENT_FILE}: {error}") from error
    if model.opset != manifest.opset:
        raise ArtifactError(
            ArtifactFault.OPSET_MISMATCH,
            f"{url}/{STUDENT_FILE}: opset {model.opset} found, the manifest says {manifest.opset}",
        )
    return model


def _read_canary(
    raw: bytes | None, spec: FeatureSpec, manifest: Manifest, url: str
) -> CanaryBatch | None:
    if raw is None:
        return None
    try:
        return CanaryBatch.from_bytes(
            raw, columns=spec.columns, rows=spec.rows, tasks=len(manifest.tasks)
        )
    except CanaryError as error:
        raise ArtifactError(ArtifactFault.BAD_CANARY, f"{url}/{CANARY_FILE}: {error}") from error


def resolve_url(url: str | Path) -> str:
    """The folder's URL, with ``pretrained:NAME`` resolved to the folder in the package.

    Raises:
        ArtifactError: If Weir ships no artifact of that name.
    """
    text = str(url)
    if not text.startswith(PRETRAINED_PREFIX):
        return text.rstrip("/")
    name = text.removeprefix(PRETRAINED_PREFIX)
    shipped = sorted(path.name for path in PRETRAINED_FOLDER.iterdir() if path.is_dir())
    if name not in shipped:
        raise ArtifactError(
            ArtifactFault.MISSING_FILE,
            f"{text}: no artifact of that name ships; there are {', '.join(shipped)}",
        )
    return str(PRETRAINED_FOLDER / name)
