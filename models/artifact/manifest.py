"""The manifest of an artifact: training data, metrics, configuration, and every file's hash.

It is read first and written last: no other file of the folder is trusted without its hash (see
"models/artifact" in ARCHITECTURE.md).
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
CANARY_FILE: Final = "canary.json"
SIGNATURE_FILE: Final = "manifest.sig"
OWN: Final = "own"
"""As the source of uncertainty: each task uses its own."""
VERSION_PATTERN: Final = r"\A[A-Za-z0-9][A-Za-z0-9_.-]*\Z"
"""Names of versions, and of files and folders below a registry: none leads out of it."""
SHA256_PATTERN: Final = r"\A[0-9a-f]{64}\Z"

Millis = Annotated[int, Field(ge=0, le=MAX_TIME_MS)]
Count = Annotated[int, Field(ge=0, le=2**53)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class TaskMetrics(_Record):
    """Metrics of one task on the held-out rows of its population.

    Attributes:
        rows: Number of rows in the population with a known label.
        positives: Number of positives among them.
        auc_roc: Area under the ROC curve; None if a class is missing.
        auc_pr: Average precision; None if a class is missing.
        log_loss: Mean negative log-likelihood, nats; None without rows.
        ece: Expected calibration error over 15 bins of equal count; None without rows.
        effective_rows: Kish's effective number of rows under the weights; None without weights.
    """

    rows: Count
    positives: Count
    auc_roc: float | None
    auc_pr: float | None
    log_loss: float | None
    ece: float | None
    effective_rows: float | None = None


class Metrics(_Record):
    """Held-out metrics per task.

    Attributes:
        teacher: Metrics of the mean of the teacher's SWAG samples.
        student: Metrics of the student, which serves.
        uncertainty_spearman: Rank correlation of the student's u with the teacher's, alternating
            between sets of samples. It is limited by the correlation of two such sets.
        score_spearman: Rank correlation of the student's score with the teacher's.
        uncertainty_tail: Share of the teacher's most uncertain tenth that is in the student's.
        weighted: The student's again, every row weighted by its clipped inverse propensity and the
            requests that it represents (self-normalised): an estimate for all requests, the blocked
            ones included, where ``student`` is one for those that passed.
        explored: The student's again, on the rows that passed by exploration alone, with the same
            weights: for requests that would be blocked.
    """

    teacher: dict[str, TaskMetrics]
    student: dict[str, TaskMetrics]
    uncertainty_spearman: dict[str, float]
    score_spearman: dict[str, float] = {}
    uncertainty_tail: dict[str, float] = {}
    weighted: dict[str, TaskMetrics] = Field(default={})
    explored: dict[str, TaskMetrics] = Field(default={})


class TrainingRange(_Record):
    """The examples that were used for training.

    Attributes:
        ts_min: Time of the oldest training row, milliseconds since the epoch.
        ts_max: Time of the newest training row.
        rows: Number of labelled rows that the teacher was trained on.
        unlabelled_rows: Number of additional rows, labelled by the teacher, for the student only.
        held_out_rows: Number of rows in the newest slice, used for metrics only.
    """

    ts_min: Millis
    ts_max: Millis
    rows: Count
    unlabelled_rows: Count
    held_out_rows: Count


class AutoRow(_Record):
    """Value captured on held-out labels by one way of passing uncertain requests directly.

    Attributes:
        method: Method that gave the uncertainty.
        source: Task whose uncertainty selects the direct passes; "own" blends all tasks' own.
        direct_share: Share of all requests passed directly, within the pass budget.
        value: Captured share of all label value at this budget.
        gain: ``value`` minus that of passing by score alone.
        gain_error: Standard error of ``gain``, rows taken as independent.
    """

    method: str = "swag"
    source: str
    direct_share: float
    value: float
    gain: float
    gain_error: float


class AutoEvidence(_Record):
    """Which uncertainty source and direct share gained value on held-out labels, at equal budget.

    Attributes:
        rate: Intercepted share at which all candidates were compared.
        weights: Value of one positive of each task.
        method: The selected method; the first one if ``direct_share`` is 0.
        source: The selected source; meaningless if ``direct_share`` is 0.
        direct_share: The selected share; 0 if no candidate exceeded passing by score alone by two
            standard errors.
        tested: The best candidate, on rows that were not used to select it.
        table: All candidates.
    """

    rate: float
    weights: dict[str, float]
    method: str = "swag"
    source: str
    direct_share: float = Field(ge=0, le=1)
    tested: AutoRow | None = None
    table: tuple[AutoRow, ...]


class Manifest(_Record):
    """The manifest of one version.

    Attributes:
        format: Version of this schema.
        version: Name of the version; unique in its registry.
        created: Time of creation, ISO 8601 with an offset, after 1970.
        files: sha256 (hex) of every other file of the folder, by name.
        spec_hash: Hash of the feature spec.
        opset: Version of the standard ONNX operator set that the student requires.
        tasks: Tasks in the order of the student's output columns.
        label_rates: Share of positives per task in the training rows of its population.
        training: The examples that were used for training.
        metrics: Held-out metrics.
        uncertainty_target: Transformation of the teacher's standard deviation that the student's
            uncertainty head learned; the graph ends with its inverse (:mod:`models.nets.scale`).
        rescaling: For the target ``mean``, the factor per task that scaled the teacher's
            uncertainty to the mean of the labels (DAUM, section III-E), by which the graph divides;
            empty for other targets.
        agreement: Largest difference between torch and onnxruntime on real rows at export.
        auto: Evidence on passing uncertain requests directly, by the student's uncertainty.
        methods: The same by the uncertainty of every method, before the student was distilled from
            the selected one; None if the configuration named the method.
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
        """The tasks in funnel order."""
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
            if not is_name(name) or name in {MANIFEST_FILE, SIGNATURE_FILE}:
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
    """Whether a text can name a version or a file: letters, digits, ``_``, ``.`` and ``-``."""
    return len(text) <= MAX_VERSION and re.match(VERSION_PATTERN, text) is not None


def sha256(content: bytes) -> str:
    """Hex digest of a file's content."""
    return hashlib.sha256(content).hexdigest()
