"""The policy: from scores and uncertainties to decisions, t = h(s, u), e = f(t), pass or block.

Composes valuation (eq. 8, 9), the interception-rate controller of each scenario (eq. 7),
exploration, steering, and this worker's part of the fleet. It is the last step before routing;
worker and replay both call it. It does no I/O: changes, reports and what other workers saw are
told to it, between two calls.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.artifact.manifest import OWN, AutoEvidence
from models.settings import EVERYTHING, PolicySettings, ScenarioSettings
from models.tasks import TaskSet
from stream.messages import PartitionState, Reason, Spending
from stream.policy.errors import PolicyError
from stream.policy.exploration import draw
from stream.policy.rate.stream_clock import StreamClock
from stream.policy.scenario import Scenario
from stream.policy.scenario_split import ScenariosByRow, value
from stream.policy.settings_in_force import Change, Steering
from stream.policy.value.confidence import follow

REPORTS: Final = 200
"""States that a worker tells the fleet at a time; with full summaries 300 KB."""

Floats32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Decisions:
    """What was decided about N requests; arrays of shape (N,).

    Attributes:
        passed_N: bool.
        reason_N: uint8, a :class:`stream.messages.Reason`.
        reward_N: float32, e (eq. 8); NaN where scores gave none.
        threshold_N: float32, the reward that was needed to pass by score, always finite. The
            greatest float32 says that no pass was left to give, the least that one was overdue.
        propensity_N: float64, in (0, 1]: the probability of the verdict (passed or blocked) given
            the request and the policy's state before it, over the draws of exploration, the only
            chance in it. A request that would pass without exploring has 1 (``score`` by its
            reward, ``uncertain`` directly); one that would not has eps when it passes
            (``explore``) and 1 - eps when it is blocked. eps is ``explore``, or less where the
            passes 1 - r leave no room for it.
        due_N: float64, in [0, 1]: what rates, budgets and capacities asked to intercept of it.
    """

    passed_N: npt.NDArray[np.bool_]
    reason_N: npt.NDArray[np.uint8]
    reward_N: Floats32
    threshold_N: Floats32
    propensity_N: npt.NDArray[np.float64]
    due_N: npt.NDArray[np.float64]


class Policy:
    """Decides a stream of requests; holds the controllers' state.

    Args:
        settings: What to intercept.
        tasks: The tasks of the student, in the order of its columns.
        worker: Who speaks to the fleet; no two speak under one name, even one after the other.

    Raises:
        PolicyError: Naming the key and the fix; an ExpressionError also the column.
    """

    def __init__(self, settings: PolicySettings, tasks: TaskSet, worker: str = "") -> None:
        self._worker = worker
        self._tasks = tasks
        self._evidence: AutoEvidence | None = None
        self._seed = settings.seed
        self._window = settings.window
        self._steering = Steering(settings, tasks)
        self._clock = StreamClock()
        self._scenarios: dict[str, Scenario] = {}
        self._own: frozenset[int] = frozenset()
        self._partitions = 0
        self._turn = -1
        self._stale = dict.fromkeys(self._steering.names)
        self._settle()

    @property
    def target(self) -> float:
        """R of the scenario ``*``, the share of requests to intercept."""
        return self._everything.rate

    @property
    def achieved(self) -> float:
        """Share intercepted of the last 10,000 requests of ``*`` (fewer at the start; NaN before).

        Requests of named scenarios are not among them.
        """
        return self._everything.controller.achieved

    @property
    def threshold(self) -> float:
        """The reward needed to pass in ``*`` when nothing is owed; NaN before the first request."""
        return self._everything.controller.threshold

    @property
    def distrusted_stamps(self) -> int:
        """Timestamps so far that the stream's clock did not follow."""
        return self._clock.distrusted

    @property
    def capacity(self) -> float:
        """Requests per second that all workers may pass together; 0 where nothing limits that.

        Scenarios that have one of their own, or none, leave all of it unlimited.
        """
        capacity = self._steering.everything.capacity
        return 0.0 if capacity is None or len(self._scenarios) > 1 else capacity

    @property
    def in_force(self) -> Mapping[str, ScenarioSettings]:
        """The settings in force for ``*`` and for every named scenario."""
        return self._steering.in_force

    def live(self, scenario: str) -> Change:
        """What was said live of one scenario."""
        return self._steering.live(scenario)

    def decide(
        self,
        hashes_N: npt.NDArray[np.uint64],
        timestamps_N: npt.NDArray[np.int64],
        scores_NT: Floats32,
        uncertainties_NT: Floats32,
        *,
        scenarios_N: npt.NDArray[np.int32] | None = None,
        partitions_N: npt.NDArray[np.int64] | None = None,
        now_ms: int | None = None,
    ) -> Decisions:
        """Decide the next N requests of the stream, in order.

        Args:
            hashes_N: xxh3_64 of the request ids, uint64.
            timestamps_N: The records' timestamps, int64 (:mod:`stream.policy.rate.partition_clock`).
            scores_NT: Probabilities, each on its task's own population, float32.
            uncertainties_NT: Standard deviations of those probabilities, float32.
            scenarios_N: Rows of the scenario feature; None where there is none.
            partitions_N: Where each request came from; None where nobody shares it.
            now_ms: What the wall clock shows, in milliseconds since the epoch, while requests are
                read as they come; None for a history in its order.

        Returns:
            The decisions.
        """
        self._settle()
        time_N, partition_time_N = self._clock.read(timestamps_N, partitions_N, now_ms)
        rows = self._scenarios_by_row.split(scenarios_N)
        reward_N, uncertainty_N = value(rows, scores_NT, uncertainties_NT)
        exploring = any(scenario.explores for scenario, _ in rows)
        draws_N = draw(hashes_N, self._seed) if exploring else None
        made = Decisions(
            np.empty(len(hashes_N), np.bool_),
            np.empty(len(hashes_N), np.uint8),
            reward_N,
            np.empty(len(hashes_N), np.float32),
            np.empty(len(hashes_N), np.float64),
            np.empty(len(hashes_N), np.float64),
        )
        for scenario, at in rows:
            draws = None if draws_N is None else draws_N[at]
            verdicts = scenario.decide(reward_N[at], uncertainty_N[at], time_N[at], draws)
            passed_N = verdicts.passed_N
            if partitions_N is not None:
                scenario.account(partitions_N[at], partition_time_N[at], passed_N)
            explored_N = passed_N & ~verdicts.chosen_N
            reason_N = np.full(len(passed_N), Reason.SCORE, np.uint8)
            reason_N[verdicts.direct_N] = Reason.UNCERTAIN
            reason_N[explored_N] = Reason.EXPLORE
            propensity_N = np.where(passed_N, 1.0, 1.0 - verdicts.explore_N)
            propensity_N[explored_N] = verdicts.explore_N[explored_N]
            made.passed_N[at], made.reason_N[at] = passed_N, reason_N
            made.threshold_N[at], made.propensity_N[at] = verdicts.threshold_N, propensity_N
            made.due_N[at] = verdicts.due_N
        return made

    def follow(self, evidence: AutoEvidence | None) -> None:
        """Where the settings say ``auto``, pass directly from the next request on what paid.

        Args:
            evidence: Of the artifact that serves; without any nothing passes directly.

        Raises:
            PolicyError: If it names a task that is not there.
        """
        if evidence is not None and evidence.source not in {OWN, *self._tasks.names}:
            raise PolicyError(
                f"auto evidence: {evidence.source!r} is not a task; the tasks are "
                f"{', '.join(self._tasks.names)}"
            )
        self._evidence = evidence
        self._stale |= dict.fromkeys(self._steering.names)

    def steer(self, scenario: str, change: Change | None) -> None:
        """Put a change in force from the next request on; passes owed stay owed.

        Args:
            scenario: Whose settings change; ``*`` for all.
            change: What is said of it live, in place of what was said before; None takes it back.

        Raises:
            PolicyError: If it cannot be; everything stays as it was.
        """
        self._steering.change(scenario, change)
        if scenario == EVERYTHING:
            self._stale |= dict.fromkeys(self._steering.names)
        self._stale[scenario] = None

    def spend(self, scenario: str, spending: Spending) -> None:
        """Take in a report on a budget; one of ``*`` counts for all scenarios without their own."""
        self._settle()
        own = self._scenarios.get(scenario)
        if own is not None:
            own.spend(spending, own=True)
        if scenario == EVERYTHING:
            for found in self._paced:
                if not found.reported:
                    found.spend(spending, own=False)

    def own(self, partitions: Collection[int], of: int) -> None:
        """These partitions are this worker's from now on, of so many."""
        self._settle()
        self._own, self._partitions = frozenset(partitions), of
        for scenario in self._scenarios.values():
            scenario.own(self._own, of)

    def merge(self, states: Collection[PartitionState]) -> Collection[PartitionState]:
        """Take in what workers said of their partitions, this one's own words included.

        Returns:
            Those that came from the last owners; what is said of scenarios without a name here
            is passed over.
        """
        self._settle()
        touched, believed = {}, []
        for state in states:
            scenario = self._scenarios.get(state.scenario)
            if scenario is not None:
                touched[state.scenario] = scenario
                if scenario.merge(state):
                    believed.append(state)
        for scenario in touched.values():
            scenario.reconsider()
        return believed

    def silence(self, scenario: str, partition: int) -> None:
        """Nobody has said anything of a partition lately."""
        found = self._scenarios.get(scenario)
        if found is not None:
            found.silence(partition)
            found.reconsider()

    def alone(self) -> None:
        """Forget the fleet, and hold every target with the own requests only."""
        for scenario in self._scenarios.values():
            scenario.forget_fleet()
            scenario.reconsider()

    def report(self, elapsed_s: float) -> list[PartitionState]:
        """What to tell the fleet: the own partitions that had requests since the last report.

        At most ``REPORTS`` states or so at a time: with more scenarios they take turns, after
        ``*``, whose turn is always.

        Args:
            elapsed_s: Time since the last report.
        """
        self._settle()
        for scenario in self._scenarios.values():
            scenario.wait(elapsed_s)
        reports = self._everything.report()
        named = self._scenarios_by_row.named
        for _ in named:
            if len(reports) >= REPORTS:
                break
            self._turn = (self._turn + 1) % len(named)
            reports += named[self._turn].report()
        return reports

    @property
    def _everything(self) -> Scenario:
        self._settle()
        return self._scenarios[EVERYTHING]

    def _settle(self) -> None:
        """Bring scenarios in line with the settings in force.

        Changes only note whose settings they change: so many changes between two calls cost one
        pass over the scenarios, and only where names came or went are these numbered again.
        """
        if not self._stale:
            return
        stale, self._stale = self._stale, {}
        renamed = False
        for name in stale:
            asked, known = self._steering.of(name), self._scenarios.get(name)
            if asked is None:
                renamed |= self._scenarios.pop(name, None) is not None
                continue
            in_force = follow(asked, self._evidence, self._tasks)
            valuation = self._steering.valuation(in_force)
            if known is not None:
                known.steer(in_force, valuation)
                continue
            renamed = True
            made = Scenario(name, in_force, valuation, self._window, self._worker)
            made.own(self._own, self._partitions)
            self._scenarios[name] = made
        self._paced = [found for found in self._scenarios.values() if found.paced]
        if renamed:
            named = [found for name, found in self._scenarios.items() if name != EVERYTHING]
            self._scenarios_by_row = ScenariosByRow(self._everything, named)
