"""What a run of the loop leaves: its store and registry, in a form that compares with another run.

What may differ is left out: when records were written, how often the feedback worker delivered a
request and which model had decided it, the files of the tables, times of versions (of creation, and
those that the verdict measured: ``gates.json``, the card, and the hash of the manifest that lists
them).
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import orjson
import polars as pl
from safetensors import safe_open

from chaos.loop.history import CLOCK_SPEC
from models.artifact import load_artifact
from models.artifact.manifest import CARD_FILE
from models.artifact.registry import Registry
from models.features import FeatureSpec
from models.settings import Settings
from stream.messages.models_topic import read_history
from trainer.gates.ledger import FOLDER as TRIALS
from trainer.gates.report import GATES_FILE
from trainer.pipeline.rebuild_job import KEPT_TEACHER
from trainer.store.event_table import EventTable
from trainer.store.example_store import EXAMPLES, OUTCOMES
from trainer.store.locations import StoreError
from trainer.store.snapshot import write_snapshot
from trainer.store.windows import AttributionWindows

MEASURED: Final = frozenset({GATES_FILE, CARD_FILE})
_OF_A_REQUEST: Final = ("ts", "spec", "features", "propensity", "weight")
#: Ids of differences that are named.
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class FinalState:
    """The comparable state.

    Attributes:
        requests: Hash of the content of each stored request, by id.
        outcomes: Each stored outcome: id, task, time.
        labels: Final labels of each request that a rebuild would learn from, by id.
        versions: What each published version is made of, by its name.
        announcements: Announced versions in order, with the version before and the cause.
        trials: Candidates that were tried against each serving model, in order of time.
        teacher: Hashes of the weights that the next rebuild starts from.
    """

    requests: Mapping[str, str]
    outcomes: Mapping[tuple[str, str, int], bool]
    labels: Mapping[str, tuple[int | None, ...]]
    versions: Mapping[str, Any]
    announcements: Mapping[int, tuple[str, str | None, str]]
    trials: Mapping[str, Any]
    teacher: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Deliveries:
    """How often records came.

    Attributes:
        stored: Examples of requests in the store, repeated deliveries included.
        repeated: Of these, deliveries of a request that is there already.
        doubled: Records of a topic, by partition and offset, that are stored more than once.
    """

    stored: int
    repeated: int
    doubled: int


def stored(settings: Settings, name: str, *columns: str) -> pl.DataFrame:
    """These columns of all rows of a table; none before the trainer has created it."""
    files = []
    with suppress(StoreError):
        files = [file.url for file in EventTable(settings.trainer.store, name).files]
    if not files:
        return pl.DataFrame(schema=dict.fromkeys(columns, pl.Null()))
    return pl.concat([pl.read_parquet(file, columns=list(columns)) for file in files])


def deliveries(settings: Settings) -> Deliveries:
    """How often each record is in the store."""
    examples = stored(settings, EXAMPLES, "request_id", "spec", "partition", "offset")
    outcomes = stored(settings, OUTCOMES, "partition", "offset")
    keys = ["partition", "offset"]
    doubled = sum(len(rows) - rows.select(keys).n_unique() for rows in (examples, outcomes))
    requests = examples.filter(pl.col("spec") != CLOCK_SPEC)["request_id"]
    return Deliveries(len(requests), len(requests) - requests.n_unique(), doubled)


async def final_state(settings: Settings, spec: FeatureSpec) -> FinalState:
    """The state that the processes have left; they must have stopped."""
    history = await read_history(settings)
    announced = [each.announcement for each in history.announced]
    registry = Registry.of(settings.model)
    return FinalState(
        requests=_requests(settings),
        outcomes=dict.fromkeys(
            stored(settings, OUTCOMES, "request_id", "task", "ts").iter_rows(), True
        ),
        labels=_labels(settings, spec),
        versions={name: _version(registry, name) for name in registry.versions()},
        announcements={
            number: (each.version, each.previous or "", str(each.cause))
            for number, each in enumerate(announced)
        },
        trials=_trials(Path(settings.model.registry) / TRIALS),
        teacher=_teacher(Path(settings.trainer.store) / KEPT_TEACHER),
    )


def differences(one: FinalState, other: FinalState) -> list[str]:
    """What differs, a line per part; empty if the two are identical."""
    found = []
    for field in fields(FinalState):
        ours, theirs = getattr(one, field.name), getattr(other, field.name)
        keys = [key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)]
        if keys:
            named = "; ".join(
                f"{key}: {ours.get(key)} and {theirs.get(key)}"
                for key in sorted(keys, key=str)[:_NAMED]
            )
            found.append(f"{field.name}: {len(keys)} of {len(ours)} differ: {named}"[:2000])
    return found


def _requests(settings: Settings) -> dict[str, str]:
    hashes: dict[str, set[str]] = {}
    rows = stored(settings, EXAMPLES, "request_id", *_OF_A_REQUEST)
    for row in rows.filter(pl.col("spec") != CLOCK_SPEC).iter_rows(named=True):
        content = orjson.dumps([row[name] for name in _OF_A_REQUEST])
        hashes.setdefault(row["request_id"], set()).add(hashlib.sha256(content).hexdigest()[:16])
    # deliveries of one request that differ would be several hashes
    return {rid: " ".join(sorted(found)) for rid, found in hashes.items()}


def _labels(settings: Settings, spec: FeatureSpec) -> dict[str, tuple[int | None, ...]]:
    feedback, tasks = settings.feedback, settings.task_set
    windows = AttributionWindows(tasks, feedback.time_scale, feedback.lateness_s)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "snapshot"
        write_snapshot(settings.trainer.store, folder, spec, windows, 10**9)
        rows = pl.read_parquet(folder)
    columns = ["request_id", *(f"label_{name}" for name in tasks.names)]
    return {row[0]: row[1:] for row in rows.select(columns).iter_rows()}


def _version(registry: Registry, name: str) -> dict[str, Any]:
    """What a version is made of; every file is checked against its hash."""
    manifest = load_artifact(registry.url_of(name)).manifest
    values: dict[str, Any] = manifest.model_dump(mode="json", exclude={"created"})
    values["files"] = {
        file: digest for file, digest in manifest.files.items() if file not in MEASURED
    }
    return values


def _trials(folder: Path) -> dict[str, Any]:
    """By the first candidate, because the ledgers' names are hashes of manifests."""
    ledgers = [orjson.loads(path.read_bytes())["trials"] for path in folder.glob("*.json")]
    return {ledger[0]["candidate"]: ledger for ledger in ledgers if ledger}


def _teacher(path: Path) -> dict[str, str]:
    """Hash of each tensor; the bytes of the file also depend on the order of its metadata."""
    if not path.exists():
        return {}
    with safe_open(path, framework="np") as file:
        found = dict(file.metadata() or {})
        for name in file.keys():  # noqa: SIM118 - no dict
            found[name] = hashlib.sha256(file.get_tensor(name).tobytes()).hexdigest()
    return found
