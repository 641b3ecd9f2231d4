"""Loading an artifact: a folder of student, feature spec and manifest, verified in that order.

Nothing is used before it is checked: manifest (against the announcement where one is given),
then every file's hash, the spec's, the tasks, the model's opset. Nothing is ever unpickled.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import fsspec
from pydantic import ValidationError

from models.errors import UserError
from models.features import FeatureSpec
from models.manifest import MANIFEST_FILE, SPEC_FILE, STUDENT_FILE, Manifest, sha256
from models.onnxfile import OnnxFileError, inspect_onnx
from models.tasks import TaskSet

PRETRAINED_PREFIX: Final = "pretrained:"
PRETRAINED_FOLDER: Final = Path(__file__).parent / "pretrained"
_PRETRAINED_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]*$")


class ArtifactFault(StrEnum):
    """What is wrong with an artifact."""

    UNREACHABLE = "unreachable"
    MISSING_FILE = "missing-file"
    BAD_MANIFEST = "bad-manifest"
    HASH_MISMATCH = "hash-mismatch"
    SPEC_MISMATCH = "spec-mismatch"
    TASK_MISMATCH = "task-mismatch"
    OPSET_MISMATCH = "opset-mismatch"
    BAD_MODEL = "bad-model"


class ArtifactError(UserError):
    """An artifact that must not serve.

    Attributes:
        code: What is wrong, for metrics and decisions.
        message: Which file, what was found, what to do.
    """

    def __init__(self, code: ArtifactFault, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Artifact:
    """A verified version, ready for :class:`models.scorer.Scorer`.

    Attributes:
        url: Where it came from.
        manifest: What is known about it.
        manifest_sha256: Hash of ``manifest.json``, as announcements carry it.
        spec: Feature spec that its ids come from.
        tasks: Tasks in the order of the student's output columns.
        onnx: Content of ``student.onnx``.
    """

    url: str
    manifest: Manifest
    manifest_sha256: str
    spec: FeatureSpec
    tasks: TaskSet
    onnx: bytes


def load_artifact(url: str | Path, expected_manifest_sha256: str | None = None) -> Artifact:
    """Read and verify an artifact.

    Args:
        url: A folder, an fsspec URL of one, or ``pretrained:NAME`` for one that ships.
        expected_manifest_sha256: Hash from the announcement; a manifest with another is refused.

    Raises:
        ArtifactError: With a code for what is wrong, naming the file.
    """
    folder = _Folder(url)
    raw = folder.read(MANIFEST_FILE)
    digest = sha256(raw)
    if expected_manifest_sha256 not in (None, digest):
        raise ArtifactError(
            ArtifactFault.HASH_MISMATCH,
            f"{folder.url}/{MANIFEST_FILE}: sha256 {digest} found, {expected_manifest_sha256} "
            "announced; the folder changed after it was published: publish a new version",
        )
    manifest = _parse_manifest(raw, folder.url)
    contents = {name: folder.read(name) for name in sorted(manifest.files)}
    for name, content in contents.items():
        if sha256(content) != manifest.files[name]:
            raise ArtifactError(
                ArtifactFault.HASH_MISMATCH,
                f"{folder.url}/{name}: its content is not what the manifest's hash says",
            )
    spec = _parse_spec(contents[SPEC_FILE], manifest, folder.url)
    _check_model(contents[STUDENT_FILE], manifest, folder.url)
    return Artifact(
        url=folder.url,
        manifest=manifest,
        manifest_sha256=digest,
        spec=spec,
        tasks=manifest.task_set,
        onnx=contents[STUDENT_FILE],
    )


def write_artifact(folder: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> None:
    """Write an artifact's folder, its manifest last.

    Args:
        folder: Made if it is not there; files of the same names are replaced.
        manifest: Must list exactly the files in ``contents``, with their hashes.
        contents: Content of every file but the manifest, by name.

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
    (folder / MANIFEST_FILE).write_bytes(manifest.to_bytes())


def _parse_manifest(raw: bytes, url: str) -> Manifest:
    try:
        return Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(
            ArtifactFault.BAD_MANIFEST, f"{url}/{MANIFEST_FILE}: {field}: {first['msg']}"
        ) from error


def _parse_spec(content: bytes, manifest: Manifest, url: str) -> FeatureSpec:
    try:
        spec = FeatureSpec.parse(content.decode("utf-8"), f"{url}/{SPEC_FILE}")
    except ValueError as error:
        raise ArtifactError(
            ArtifactFault.SPEC_MISMATCH, f"{url}/{SPEC_FILE}: no feature spec: {error}"
        ) from error
    if spec.hash != manifest.spec_hash:
        raise ArtifactError(
            ArtifactFault.SPEC_MISMATCH,
            f"{url}/{SPEC_FILE}: its hash is {spec.hash}, the manifest says {manifest.spec_hash}",
        )
    return spec


def _check_model(model: bytes, manifest: Manifest, url: str) -> None:
    try:
        opset = inspect_onnx(model).opset
    except OnnxFileError as error:
        raise ArtifactError(ArtifactFault.BAD_MODEL, f"{url}/{STUDENT_FILE}: {error}") from error
    if opset != manifest.opset:
        raise ArtifactError(
            ArtifactFault.OPSET_MISMATCH,
            f"{url}/{STUDENT_FILE}: opset {opset} found, the manifest says {manifest.opset}",
        )


class _Folder:
    """Files of one folder on any filesystem that fsspec knows."""

    def __init__(self, url: str | Path) -> None:
        self.url = resolve_url(url)
        try:
            self._fs, self._path = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise ArtifactError(ArtifactFault.UNREACHABLE, f"{self.url}: {error}") from error

    def read(self, name: str) -> bytes:
        try:
            content: Any = self._fs.cat_file(f"{self._path.rstrip('/')}/{name}")
        except FileNotFoundError as error:
            raise ArtifactError(
                ArtifactFault.MISSING_FILE, f"{self.url}/{name}: there is no such file"
            ) from error
        except Exception as error:  # each filesystem has exceptions of its own
            raise ArtifactError(
                ArtifactFault.UNREACHABLE, f"{self.url}/{name}: {type(error).__name__}: {error}"
            ) from error
        return bytes(content)


def resolve_url(url: str | Path) -> str:
    """The folder's URL, with ``pretrained:NAME`` resolved to where the package keeps it.

    Raises:
        ArtifactError: If ``NAME`` is not a name.
    """
    text = str(url)
    if not text.startswith(PRETRAINED_PREFIX):
        return text.rstrip("/")
    name = text.removeprefix(PRETRAINED_PREFIX)
    if not _PRETRAINED_NAME.match(name):
        raise ArtifactError(ArtifactFault.MISSING_FILE, f"{text}: {name!r} is not a name")
    return str(PRETRAINED_FOLDER / name)
