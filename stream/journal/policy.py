"""A policy whose journal has every call that changes it, with its arguments."""

from collections.abc import Collection

from models.artifact.manifest import AutoEvidence
from models.settings import PolicySettings, Settings
from models.tasks import TaskSet
from stream.journal.recorder import Recorder
from stream.messages import (
    FleetState,
    RateSummary,
    Spending,
    write_change,
    write_spending,
    write_state,
)
from stream.messages.journal import (
    Assigned,
    ChangeApplied,
    EvidenceUsed,
    FleetReset,
    ScenarioExpired,
    ScenarioHeld,
    SettingsSettled,
    SpendingApplied,
    StatesMerged,
    SummariesMade,
    SummaryAcknowledged,
)
from stream.policy import Policy
from stream.policy.settings_in_force import Change


class JournaledPolicy(Policy):
    """Decides as :class:`Policy` does, and records what changes it.

    Batches are recorded where their offsets are known, by the interceptor.

    Args:
        settings: Settings of the policy.
        tasks: The tasks of the student.
        worker: Name under which states are published.
        recorder: Takes the entries; it has the start of the worker already.
    """

    def __init__(
        self, settings: PolicySettings, tasks: TaskSet, worker: str, recorder: Recorder
    ) -> None:
        self._recorder = recorder
        super().__init__(settings, tasks, worker)

    def use_evidence(self, evidence: AutoEvidence | None) -> None:
        """See :meth:`Policy.use_evidence`; evidence that is refused has changed nothing."""
        super().use_evidence(evidence)
        raw = None if evidence is None else evidence.model_dump_json().encode()
        self._recorder.add(EvidenceUsed(raw))

    def apply_change(self, scenario: str, change: Change | None) -> None:
        """See :meth:`Policy.apply_change`; a change that is refused has changed nothing."""
        super().apply_change(scenario, change)
        self._recorder.add(ChangeApplied(scenario, write_change(change)))

    def apply_spending(self, scenario: str, spending: Spending) -> None:
        """See :meth:`Policy.apply_spending`."""
        self._recorder.add(SpendingApplied(scenario, write_spending(spending)))
        super().apply_spending(scenario, spending)

    def assign(self, partitions: Collection[int], partition_count: int) -> None:
        """See :meth:`Policy.assign`."""
        self._recorder.add(Assigned(tuple(partitions), partition_count))
        super().assign(partitions, partition_count)

    def merge(self, states: Collection[FleetState]) -> Collection[FleetState]:
        """See :meth:`Policy.merge`."""
        self._recorder.add(StatesMerged(tuple(map(write_state, states))))
        return super().merge(states)

    def hold(self, scenario: str) -> None:
        """See :meth:`Policy.hold`."""
        self._recorder.add(ScenarioHeld(scenario))
        super().hold(scenario)

    def expire(self, scenario: str) -> None:
        """See :meth:`Policy.expire`."""
        self._recorder.add(ScenarioExpired(scenario))
        super().expire(scenario)

    def reset_fleet(self) -> None:
        """See :meth:`Policy.reset_fleet`."""
        self._recorder.add(FleetReset())
        super().reset_fleet()

    def summaries(self, elapsed_s: float) -> list[RateSummary]:
        """See :meth:`Policy.summaries`."""
        self._recorder.add(SummariesMade(elapsed_s))
        return super().summaries(elapsed_s)

    def acknowledge(self, scenario: str, sequence: int, offset: int) -> None:
        """See :meth:`Policy.acknowledge`."""
        self._recorder.add(SummaryAcknowledged(scenario, sequence, offset))
        super().acknowledge(scenario, sequence, offset)

    def _apply_stale(self) -> None:
        if self._stale:
            self._recorder.add(SettingsSettled())
        super()._apply_stale()


def policy_of(settings: Settings, worker: str, recorder: Recorder | None) -> Policy:
    """The policy of a worker, with a journal if there is a recorder."""
    if recorder is None:
        return Policy(settings.policy, settings.task_set, worker)
    return JournaledPolicy(settings.policy, settings.task_set, worker, recorder)
