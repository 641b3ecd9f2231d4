"""The state of everything that runs, as `weir status` shows it and prints it as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """One topic.

    Attributes:
        name: Name of the topic.
        partitions: Number of partitions; 0 if it does not exist.
        records: Records in it, as far as offsets tell.
        lag: Records that its reader has not consumed yet, by group; the trainer reads without one.
    """

    name: str
    partitions: int
    records: int
    lag: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BrokerFacts:
    """What the brokers say.

    Attributes:
        error: Why they could not be asked; None if they could.
        topics: The topics of Weir.
        members: Consumers in each group of Weir.
        announced: Version that was announced last; None if none was.
        announced_s: When, in seconds since the epoch.
    """

    error: str | None = None
    topics: tuple[TopicFacts, ...] = ()
    members: Mapping[str, int] = field(default_factory=dict)
    announced: str | None = None
    announced_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RegistryFacts:
    """What the registry has.

    Attributes:
        error: Why it could not be read; None if it could.
        versions: Number of versions.
        has_announced: Whether the announced version is among them; None if none is announced.
    """

    error: str | None = None
    versions: int = 0
    has_announced: bool | None = None


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """One process.

    Attributes:
        address: HOST:PORT of its metrics.
        role: worker, feedback or trainer; empty if it does not answer.
        build: Version of Weir.
        unmet: Conditions of readiness that are not met.
    """

    address: str
    role: str = ""
    build: str = ""
    unmet: tuple[str, ...] = ()

    @property
    def answers(self) -> bool:
        """Whether it answered."""
        return bool(self.role)


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """One intercept worker.

    Attributes:
        address: HOST:PORT of its metrics.
        model: Version that serves; empty while none does.
        requests: Requests decided since it started.
        due: Requests that should have been intercepted.
        blocked: Requests that were.
        achieved: Share intercepted in the controller's window.
        target: Share that is asked for now.
        fail_open: Whether everything passes because no model serves.
        shared: Whether the rate is held together with the fleet.
    """

    address: str
    model: str
    requests: float
    due: float
    blocked: float
    achieved: float
    target: float
    fail_open: bool
    shared: bool


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """Labels of one task, in the trainer's store.

    Attributes:
        outcomes: Outcomes that were accepted since the trainer started.
        known: Share of the stored requests whose label is final; None if unknown.
        open: Requests whose label is not final yet.
        due: Those of them whose label becomes final within a day.
        calibration: Label rate over mean score of what serves; None where not measured.
        error: Standard error of the calibration.
        auc: Area under the ROC curve of what serves; None where not measured.
        learned_from: Whether these figures are of requests that the model learned from.
    """

    outcomes: float
    known: float | None
    open: float
    due: float
    calibration: float | None
    error: float | None
    auc: float | None
    learned_from: bool


@dataclass(frozen=True, slots=True)
class RebuildFacts:
    """The trainer's rebuilds.

    Attributes:
        running_s: Seconds since the running one began; None if none is running.
        ended_s: Seconds since the last one ended; None before.
        took_s: How long it took.
        reason: Why it began.
        result: How it ended.
        version: Its candidate.
        refused_in_row: Candidates refused since the last one was published.
        failed_gates: Gates that the last candidate did not pass, with their tasks.
        next_s: Seconds until the next time of the schedule; None without one.
        waiting: Mature examples since the last one began.
    """

    running_s: float | None
    ended_s: float | None
    took_s: float
    reason: str
    result: str
    version: str
    refused_in_row: int
    failed_gates: tuple[str, ...]
    next_s: float | None
    waiting: int


@dataclass(frozen=True, slots=True)
class TrainerFacts:
    """The trainer.

    Attributes:
        address: HOST:PORT of its metrics.
        rows: Stored examples.
        bytes: Size of the store.
        lag: Records that it has not consumed yet, by topic.
        examples: Examples that were accepted since it started.
        stalled_s: Seconds since brokers answered and the store could be written; None before.
        watermark_s: Seconds that the watermark is behind the clock; None before the first request.
        labels: By task.
        rebuild: Its rebuilds.
        psi: PSI of the features that have drifted most.
        drift_alarm: Whether one is above the limit.
        measured_s: Seconds since live quality was measured; None before.
    """

    address: str
    rows: float
    bytes: float
    lag: Mapping[str, float]
    examples: float
    stalled_s: float | None
    watermark_s: float | None
    labels: Mapping[str, LabelFacts]
    rebuild: RebuildFacts
    psi: Mapping[str, float]
    drift_alarm: bool
    measured_s: float | None


@dataclass(frozen=True, slots=True)
class Status:
    """Everything.

    Attributes:
        brokers: What the brokers say.
        registry: What the registry has.
        processes: All processes, those that do not answer included.
        workers: The intercept workers that answer.
        trainers: The trainers that answer; one writes the store.
        expected_workers: ``worker.expected``.
    """

    brokers: BrokerFacts
    registry: RegistryFacts
    processes: tuple[ProcessFacts, ...]
    workers: tuple[WorkerFacts, ...]
    trainers: tuple[TrainerFacts, ...]
    expected_workers: int

    def as_dict(self) -> dict[str, Any]:
        """The facts as JSON values."""
        return asdict(self)
