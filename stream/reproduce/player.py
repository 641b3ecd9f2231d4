"""Makes the calls of a journal again, on a policy and an interceptor of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from pydantic import ValidationError

from models.artifact import ArtifactError
from models.artifact.manifest import AutoEvidence
from models.artifact.registry import Registry, RegistryError
from models.errors import UserError
from models.settings import Settings
from models.validation import reason
from stream.intercept.interceptor import Intercepted, Interceptor
from stream.intercept.loaded_model import LoadedModel, load_model
from stream.intercept.metrics import NoMetrics
from stream.messages import RecordError, read_change, read_spending, read_state
from stream.messages.journal import (
    Assigned,
    BatchDecided,
    ChangeApplied,
    Entry,
    EvidenceUsed,
    FleetReset,
    ModelLoaded,
    ScenarioExpired,
    ScenarioHeld,
    SettingsSettled,
    SpendingApplied,
    Started,
    StatesMerged,
    SummariesMade,
    SummaryAcknowledged,
)
from stream.policy import Policy
from stream.policy.errors import PolicyError
from stream.reproduce.requests import MissingRequestsError, Requests
from stream.transport import FetchedRecord


class NotReproducibleError(UserError, LookupError):
    """Something that a journal needs is missing or does not fit; names it."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """A batch that was decided again.

    Attributes:
        records: Its requests.
        outcome: What became of them.
    """

    records: Sequence[FetchedRecord]
    outcome: Intercepted


class Player:
    """Repeats the work of one worker.

    Args:
        started: The first entry of its journal.
        settings: Where models are; all other settings are the worker's.
        requests: The requests.

    Raises:
        NotReproducibleError: If the settings of the worker are not valid in this release.
    """

    def __init__(self, started: Started, settings: Settings, requests: Requests) -> None:
        self._settings = read_settings(settings, started.settings)
        self._requests = requests
        self._models: dict[int, LoadedModel] = {}
        try:
            self._policy = Policy(
                self._settings.policy, self._settings.task_set, worker=started.worker
            )
        except PolicyError as error:
            raise NotReproducibleError(f"settings of worker {started.worker}: {error}") from error
        self._interceptor = Interceptor(
            self._policy, NoMetrics(), max_value_bytes=self._settings.worker.max_value_bytes
        )

    async def play(self, entry: Entry) -> Repeated | None:
        """Repeat one entry; returns the batch if it is one.

        Raises:
            NotReproducibleError: If requests or a model are missing, or the entry cannot be used;
                what follows it cannot be repeated.
        """
        if isinstance(entry, BatchDecided):
            return await self._decide(entry)
        if isinstance(entry, ModelLoaded):
            self._models[entry.number] = self._load(entry)
            return None
        try:
            change_policy(self._policy, entry)
        except (RecordError, PolicyError, ValidationError) as error:
            raise NotReproducibleError(f"{type(entry).__name__}: {error}") from error
        return None

    async def decide_until(
        self, batch: BatchDecided, partition: int, offset: int, scenario: str
    ) -> tuple[Intercepted | None, float, Intercepted]:
        """Decide a batch up to one of its requests; decisions do not depend on how it is cut.

        Returns:
            What became of those before it (None if it is the first), the debt of a scenario before
            it, and what becomes of it.

        Raises:
            NotReproducibleError: As :meth:`play`; also if the batch does not have the request.
        """
        records, model = await self._read(batch)
        at = [
            index
            for index, record in enumerate(records)
            if (record.partition, record.offset) == (partition, offset)
        ]
        if not at:
            raise NotReproducibleError(f"partition {partition}, offset {offset}: not in its batch")
        again, now_ms = self._interceptor.intercept_again, batch.now_ms
        before = again(records[: at[0]], now_ms, model) if at[0] else None
        debt = self._policy.debt(scenario)
        return before, debt, again(records[at[0] : at[0] + 1], now_ms, model)

    async def _decide(self, batch: BatchDecided) -> Repeated:
        records, model = await self._read(batch)
        return Repeated(records, self._interceptor.intercept_again(records, batch.now_ms, model))

    async def _read(self, batch: BatchDecided) -> tuple[list[FetchedRecord], LoadedModel | None]:
        """The requests of a batch, and the model that decided them."""
        model = self._models.get(batch.model)
        if model is None and batch.model:
            raise NotReproducibleError(f"a batch was decided by model {batch.model}, which is none")
        try:
            return await self._requests.read(batch.runs), model
        except MissingRequestsError as error:
            raise NotReproducibleError(str(error)) from error

    def _load(self, named: ModelLoaded) -> LoadedModel:
        """The model of a version: the configured artifact, or one of the registry."""
        settings, faults = self._settings, list[str]()
        for url in self._places(named.version, faults):
            try:
                model = load_model(url, settings.task_set, settings)
            except ArtifactError as error:
                faults.append(str(error))
                continue
            if model.manifest_sha256 == named.manifest_sha256:
                return model
            faults.append(f"{url}: version {model.version}, sha256 {model.manifest_sha256[:12]}")
        raise NotReproducibleError(
            f"model {named.version!r} (sha256 {named.manifest_sha256[:12]}) decided, and is not to "
            f"be had: {'; '.join(faults)}"
        )

    def _places(self, version: str, faults: list[str]) -> list[str]:
        model = self._settings.model
        try:
            return [Registry.of(model).url_of(version), model.artifact]
        except RegistryError as error:
            faults.append(str(error))
            return [model.artifact]


def change_policy(policy: Policy, entry: Entry) -> None:
    """Make the call of the policy that an entry stands for.

    Raises:
        RecordError: If an argument cannot be read.
        PolicyError: If the policy refuses it, which it did not when it was recorded.
        ValidationError: If evidence cannot be read.
    """
    match entry:
        case EvidenceUsed(evidence):
            found = None if evidence is None else AutoEvidence.model_validate_json(evidence)
            policy.use_evidence(found)
        case ChangeApplied(scenario, change):
            policy.apply_change(scenario, read_change(change))
        case SpendingApplied(scenario, spending):
            policy.apply_spending(scenario, read_spending(spending))
        case SettingsSettled():
            policy.settle()
        case _:
            _tell_of_the_fleet(policy, entry)


def _tell_of_the_fleet(policy: Policy, entry: Entry) -> None:
    match entry:
        case Assigned(partitions, partition_count):
            policy.assign(partitions, partition_count)
        case StatesMerged(states):
            policy.merge([read_state(key, value) for key, value in states])
        case ScenarioHeld(scenario):
            policy.hold(scenario)
        case ScenarioExpired(scenario):
            policy.expire(scenario)
        case FleetReset():
            policy.reset_fleet()
        case SummariesMade(elapsed_s):
            policy.summaries(elapsed_s)
        case SummaryAcknowledged(scenario, sequence, offset):
            policy.acknowledge(scenario, sequence, offset)
        case _:  # the start and the end of a worker change nothing
            pass


def read_settings(settings: Settings, raw: bytes) -> Settings:
    """These settings, with those that decisions depend on as :func:`write_settings` wrote them.

    Raises:
        NotReproducibleError: If they cannot be read, or are not valid.
    """
    try:
        live = msgspec.json.decode(raw, type=dict[str, object])
        kept = settings.model_dump(include={"kafka", "topics", "model", "worker"})
        worker = kept["worker"] | msgspec.convert(live["worker"], dict[str, int])
        changed = {"policy": live["policy"], "tasks": live["tasks"], "worker": worker}
        return Settings(**kept | changed)
    except ValidationError as error:
        faults = "; ".join(map(reason, error.errors()))
        raise NotReproducibleError(f"settings in the journal: {faults}") from error
    except (msgspec.MsgspecError, KeyError, UnicodeDecodeError, RecursionError) as error:
        raise NotReproducibleError(f"settings in the journal: {error!r}") from error
