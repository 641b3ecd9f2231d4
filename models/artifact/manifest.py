"""The manifest of an artifact: what was learned from what, how well, and every file's hash.

It is the first file that is read and the last that is written; nothing else in the folder is
trusted before it (see "Artifact" in ARCHITECTURE.md).
"""

import hashlib
import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from models.bounds import MAX_ARTIFACT_FILES, MAX_TASKS, MAX_TIME_MS, MAX_VERSION
from models.tasks import Task, TaskSet

MANIFEST_FILE: Final = "manifest.json"
STUDENT_FILE: Final = "student.onnx"
SPEC_FILE: Final = "features.toml"
CARD_FILE: Final = "card.html"
OWN: Final = "own"
"""The source of uncertainty that is no single task: every task's own."""
VERSION_PATTERN: Final = r"\A[A-Za-z0-9][A-Za-z0-9_.-]*\Z"
"""Of a version, and of any file or folder name below a registry: no way up or out."""
SHA256_PATTERN: Final = r"\A[0-9a-f]{64}\Z"

Millis = Annotated[int, Field(ge=0, le=MAX_TIME_MS)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TaskMetrics(_Part):
    """How well one task is predicted on held-out rows of its own population.

    Attributes:
        rows: Rows that count: in the population and with a known label.
        positives: Positives among them.
        auc_roc: Area under the ROC curve; None when a class is missing.
        auc_pr: Average precision; None when a class is missing.
        log_loss: Mean negative log-likelihood, nats; None without rows.
        ece: Expected calibration error over 15 bins of equal count; None without rows.
    """

    rows: Count
    positives: Count
    auc_roc: float | None
    auc_pr: float | None
    log_loss: float | None
    ece: float | None


class Metrics(_Part):
    """Held-out metrics per task.

    Attributes:
        teacher: The mean of the SWAG samples.
        student: What serves.
        uncertainty_spearman: Rank correlation of the student's u with the teacher's, whose sets of
            samples take turns (at most what two sets reach with each other, or a little more).
    """

    teacher: dict[str, TaskMetrics]
    student: dict[str, TaskMetrics]
    uncertainty_spearman: dict[str, float]


class TrainingRange(_Part):
    """Which examples were learned from.

    Attributes:
        ts_min: Time of the oldest training row, milliseconds since the epoch.
        ts_max: Time of the newest training row.
        rows: Labelled rows that the teacher learned from.
        unlabelled_rows: Further rows that only the student saw, labelled by the teacher.
        held_out_rows: Rows of the newest slice, for the metrics only.
    """

    ts_min: Millis
    ts_max: Millis
    rows: Count
    unlabelled_rows: Count
    held_out_rows: Count


class AutoRow(_Part):
    """Value kept on held-out labels by one way of passing uncertain requests directly.

    Attributes:
        method: What the uncertainty is of.
        source: Task whose uncertainty picks the direct passes; "own" blends every task's own.
        direct_share: Share of all requests passed directly, inside the pass budget.
        value: Kept share of all label value at this budget.
        gain: ``value`` minus that of score alone.
        gain_error: Standard error of ``gain``, rows taken as independent.
    """

    method: str = "swag"
    source: str
    direct_share: float
    value: float
    gain: float
    gain_error: float


class AutoEvidence(_Part):
    """Which uncertainty source and direct share paid on held-out labels, at an equal budget.

    Attributes:
        rate: Intercepted share at which all were compared.
        weights: Value of one positive of each task.
        method: The pick; the first one when ``direct_share`` is 0.
        source: The pick; meaningless when ``direct_share`` is 0.
        direct_share: The pick; 0 when nothing beat score alone by two standard errors.
        tested: The best of the table on rows that had no part in picking it.
        table: Everything that was compared.
    """

    rate: float
    weights: dict[str, float]
    method: str = "swag"
    source: str
    direct_share: float = Field(ge=0, le=1)
    tested: AutoRow | None = None
    table: tuple[AutoRow, ...]


class Manifest(_Part):
    """Everything that is known about one version.

    Attributes:
        format: Version of this schema.
        version: Name of the version; unique in its registry.
        created: Time of creation, ISO 8601 with an offset, after 1970.
        files: sha256 (hex) of every other file of the folder, by name.
        spec_hash: Hash of the feature spec.
        opset: Standard ONNX operator set that the student asks for.
        tasks: Tasks in the order of the student's output columns.
        label_rates: Share of positives per task in the training rows of its population.
        training: Which examples were learned from.
        metrics: Held-out metrics.
        uncertainty_target: What the student's uncertainty head learned of the teacher's standard
            deviation; the graph ends with the inverse (:mod:`models.nets.scale`).
        rescaling: Under ``mean`` per task the factor that brought the teacher's uncertainty to the
            mean of the labels for training (DAUM, section III-E), which the graph divides out;
            empty under another target.
        agreement: Largest difference between torch and onnxruntime on real rows at export.
        auto: Evidence on passing uncertain requests directly, from what the student says.
        methods: The same of every uncertainty method, before the student learned the picked one's;
            None where the configuration named the method.
        config: Configuration of teacher, SWAG and student.
        seed: Seed of everything random.
    """

    format: Literal[1] = 1
    version: str = Field(max_length=MAX_VERSION)
    created: str
    files: dict[str, str]
    spec_hash: str
    opset: int
    tasks: tuple[Task, ...] = Field(max_length=MAX_TASKS)
    label_rates: dict[str, float]
    training: TrainingRange
    metrics: Metrics
    uncertainty_target: Literal["mean", "log_variance", "rank", "quantile"] = "mean"
    rescaling: dict[str, float]
    agreement: float
    auto: AutoEvidence | None
    methods: AutoEvidence | None = None
    config: dict[str, Any]
    seed: int

    @property
    def task_set(self) -> TaskSet:
        """The tasks as a set."""
        return TaskSet(self.tasks)

    @property
    def created_s(self) -> float:
        """Time of creation, seconds since the epoch."""
        return datetime.fromisoformat(self.created).timestamp()

    @field_validator("version")
    @classmethod
    def _version_is_a_name(cls, version: str) -> str:
        if not is_name(version):
            raise ValueError(f"{version!r} is not a name of letters, digits, '_', '.' and '-'")
        return version

    @field_validator("created")
    @classmethod
    def _created_is_a_time(cls, created: str) -> str:
        try:
            moment = datetime.fromisoformat(created)
            known = moment.tzinfo is not None and 0 <= moment.timestamp() * 1000 <= MAX_TIME_MS
        except (ValueError, OverflowError):
            known = False
        if not known:
            raise ValueError(f"{created[:64]!r} is no time, such as '2026-05-01T12:00:00+00:00'")
        return created

    @field_validator("files")
    @classmethod
    def _files_are_here(cls, files: dict[str, str]) -> dict[str, str]:
        for name in (STUDENT_FILE, SPEC_FILE):
            if name not in files:
                raise ValueError(f"{name} is not listed")
        if len(files) > MAX_ARTIFACT_FILES:
            raise ValueError(f"{len(files)} files, more than {MAX_ARTIFACT_FILES}")
        for name, digest in files.items():
            if not is_name(name) or name == MANIFEST_FILE:
                raise ValueError(f"{name!r} is not the name of a file of the artifact's own folder")
            if not re.match(SHA256_PATTERN, digest):
                raise ValueError(f"the hash of {name} is not a sha256 in hex")
        return files

    @model_validator(mode="after")
    def _tasks_form_a_set(self) -> Self:
        names = TaskSet(self.tasks).names
        if self.auto is not None and self.auto.source not in (OWN, *names):
            raise ValueError(f"auto.source: {self.auto.source!r} is neither {OWN!r} nor a task")
        return self

    def to_bytes(self) -> bytes:
        """Content of ``manifest.json``."""
        return (self.model_dump_json(indent=1) + "\n").encode()


def is_name(text: str) -> bool:
    """Whether it can name a version or a file of one: letters, digits, ``_``, ``.``, ``-``."""
    return len(text) <= MAX_VERSION and re.match(VERSION_PATTERN, text) is not None


def sha256(content: bytes) -> str:
    """Hex digest of a file's content."""
    return hashlib.sha256(content).hexdigest()
