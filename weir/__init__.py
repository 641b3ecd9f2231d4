"""Weir in Python: features, artifacts, scores, decisions, replays, reports, example stores.

Everything here is also what the processes of `weir` run, so a notebook computes what a worker
computes. ``docs/api.md`` describes it; ``examples/`` has a script for each part. Neither torch nor
a broker is needed.
"""

from importlib.metadata import version
from typing import Final

from weir import _roots  # noqa: F401 - first: it checks whose packages are imported below

# isort: split
from models.artifact import Artifact, ArtifactError, load_artifact
from models.artifact.scorer import Scorer, ScoringError
from models.data.examples import ExampleError, Examples, read_examples, stream_examples
from models.data.request_files import FileRecord, RequestFileError, read_requests
from models.errors import UserError
from models.features import Extractor, FeatureSpec, SpecError
from models.features.intake import Intake, ingest
from models.settings import PolicySettings, Settings, SettingsError, load_settings
from models.tasks import DEFAULT_TASKS, Task, TaskSet
from stream.messages import Reason
from stream.policy import Decisions, Policy, PolicyError
from stream.replay.folder import ReplayFolder, ReplayFolderError
from stream.replay.frames import Replayed, decision_batches, replay, replay_folder
from stream.report import Report, ReportError, build_report, report_frame, write_report

__all__ = [
    "DEFAULT_TASKS",
    "Artifact",
    "ArtifactError",
    "Decisions",
    "ExampleError",
    "Examples",
    "Extractor",
    "FeatureSpec",
    "FileRecord",
    "Intake",
    "Policy",
    "PolicyError",
    "PolicySettings",
    "Reason",
    "ReplayFolder",
    "ReplayFolderError",
    "Replayed",
    "Report",
    "ReportError",
    "RequestFileError",
    "Scorer",
    "ScoringError",
    "Settings",
    "SettingsError",
    "SpecError",
    "Task",
    "TaskSet",
    "UserError",
    "__version__",
    "build_report",
    "decision_batches",
    "ingest",
    "load_artifact",
    "load_settings",
    "read_examples",
    "read_requests",
    "replay",
    "replay_folder",
    "report_frame",
    "stream_examples",
    "write_report",
]

__version__: Final = version("weir")
