"""The policy: from scores and uncertainties to decisions, t = h(s, u), e = f(t), pass or block.

Composes valuation (eq. 8, 9), the interception-rate controller of each scenario (eq. 7),
exploration, live settings, and this worker's part of the fleet. It is the last step before routing;
worker and replay both call it. It does no I/O: its callers pass in changes of settings, spending
reports and the states of the fleet, between two batches of requests.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.artifact.manifest import OWN, AutoEvidence
from models.settings import EVERYTHING, PolicySettings, ScenarioSettings
from models.tasks import TaskSet
from stream.messages import FleetState, RateSummary, Reason, Spending
from stream.policy.errors import PolicyError
from stream.policy.exploration import draw
from stream.policy.rate.stream_clock import StreamClock
from stream.policy.scenario import Scenario
from stream.policy.scenario_split import ScenariosByRow, compute_rewards
from stream.policy.settings_in_force import Change, SettingsInForce
from stream.policy.value.confidence import resolve_auto
from stream.policy.value.reward import RewardFunction

MAX_SUMMARIES: Final = 200
"""Summaries of named scenarios that a worker publishes in a second; when full 300 KB."""
NAMED_S: Final = 1.0
"""Time between two rounds of named scenarios."""

Floats32 = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Decisions:
    """Decisions about N requests; arrays of shape (N,).

    Attributes:
        passed_N: bool.
        reason_N: uint8, a :class:`stream.messages.Reason`.
        reward_N: float32, e (eq. 8); NaN where the scores give none.
        threshold_N: float32, the reward that was needed to pass by score, always finite. The
            greatest float32 means that the debt was at its lower bound (nothing may pass), the
            least one that it was at its upper bound (everything passes).
        propensity_N: float64, in (0, 1]: the probability of the verdict (passed or blocked) given
            the request and the policy's state before it, over the draws of exploration, which are
            its only randomness. A request that would pass without exploring has 1 (``score`` by
            its reward, ``uncertain`` directly); one that would not has eps when it passes
            (``explore``) and 1 - eps when it is blocked. eps is ``explore``, or less where the
            passes 1 - r leave no room for it.
        target_rate_N: float64, in [0, 1]: the interception rate that was to be held at each
            request, from the rate, the budget or the capacity in force.
    """

    passed_N: npt.NDArray[np.bool_]
    reason_N: npt.NDArray[np.uint8]
    reward_N: Floats32
    threshold_N: Floats32
    propensity_N: npt.NDArray[np.float64]
    target_rate_N: npt.NDArray[np.float64]


class Policy:
    """Decides a stream of requests; holds the state of the controllers.

    Args:
        settings: Settings of the policy.
        tasks: The tasks of the student, in the order of its columns.
        worker: Name under which summaries are published; no two processes may ever share one.
        reward: f as a function of t_NT, in place of the reward of the settings of all scenarios.

    Raises:
        PolicyError: Naming the key and the fix; an ExpressionError also the column.
    """

    def __init__(
        self,
        settings: PolicySettings,
        tasks: TaskSet,
        worker: str = "",
        reward: RewardFunction | None = None,
    ) -> None:
        self._worker = worker
        self._tasks = tasks
        self._evidence: AutoEvidence | None = None
        self._seed = settings.seed
        self._window = settings.window
        self._settings = SettingsInForce(settings, tasks, reward)
        self._clock = StreamClock()
        self._scenarios: dict[str, Scenario] = {}
        self._own: frozenset[int] = frozenset()
        self._partition_count = 0
        self._now_s = 0.0
        self._named_s = 0.0
        self._last_published = -1
        self._stale = dict.fromkeys(self._settings.names)
        self._apply_stale()

    @property
    def target(self) -> float:
        """R of the scenario ``*``, the share of requests to intercept."""
        return self._default.rate

    @property
    def achieved(self) -> float:
        """Share intercepted of the last 10,000 requests of ``*`` (fewer at the start; NaN before).

        Requests of named scenarios do not count.
        """
        return self._default.controller.achieved

    @property
    def threshold(self) -> float:
        """The reward needed to pass in ``*`` without debt; NaN before the first request."""
        return self._default.controller.threshold

    @property
    def distrusted_stamps(self) -> int:
        """Timestamps so far that the stream's clock did not follow."""
        return self._clock.distrusted

    @property
    def capacity(self) -> float:
        """Requests per second that all workers may pass together; 0 without a limit.

        With named scenarios there is no limit of all together.
        """
        capacity = self._settings.default.capacity
        return 0.0 if capacity is None or len(self._scenarios) > 1 else capacity

    def debt(self, scenario: str) -> float:
        """Passes owed less passes given in a scenario, ``*`` if it has no name."""
        return self._scenarios.get(scenario, self._default).controller.debt

    @property
    def in_force(self) -> Mapping[str, ScenarioSettings]:
        """The settings in force for ``*`` and for every named scenario."""
        return self._settings.in_force

    def live_change(self, scenario: str) -> Change:
        """The live change of one scenario's settings."""
        return self._settings.live_change(scenario)

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
            timestamps_N: Timestamps of the records, int64; `stream.policy.rate.stream_clock`.
            scores_NT: Probabilities, each on its task's own population, float32.
            uncertainties_NT: Standard deviations of those probabilities, float32.
            scenarios_N: Rows of the scenario feature; None if there is none.
            partitions_N: Partition of each request; None if partitions do not matter.
            now_ms: Wall-clock time in ms since the epoch, of live requests; None for a history
                that is read in its order.

        Returns:
            The decisions.
        """
        self._apply_stale()
        time_N, partition_time_N = self._clock.read(timestamps_N, partitions_N, now_ms)
        rows = self._scenarios_by_row.split(scenarios_N)
        reward_N, uncertainty_N = compute_rewards(rows, scores_NT, uncertainties_NT)
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
                scenario.record(partitions_N[at], partition_time_N[at], passed_N)
            explored_N = passed_N & ~verdicts.chosen_N
            reason_N = np.full(len(passed_N), Reason.SCORE, np.uint8)
            reason_N[verdicts.direct_N] = Reason.UNCERTAIN
            reason_N[explored_N] = Reason.EXPLORE
            propensity_N = np.where(passed_N, 1.0, 1.0 - verdicts.explore_N)
            propensity_N[explored_N] = verdicts.explore_N[explored_N]
            made.passed_N[at], made.reason_N[at] = passed_N, reason_N
            made.threshold_N[at], made.propensity_N[at] = verdicts.threshold_N, propensity_N
            made.target_rate_N[at] = verdicts.target_rate_N
        return made

    def rewards(
        self,
        scores_NT: Floats32,
        uncertainties_NT: Floats32,
        scenarios_N: npt.NDArray[np.int32] | None = None,
    ) -> Floats32:
        """Rewards of at least one request under the settings in force, which decide nothing.

        Args:
            scores_NT: Probabilities, each on its task's own population.
            uncertainties_NT: Standard deviations of those probabilities.
            scenarios_N: Rows of the scenario feature; None if there is none.
        """
        self._apply_stale()
        rows = self._scenarios_by_row.split(scenarios_N)
        return compute_rewards(rows, scores_NT, uncertainties_NT)[0]

    def use_evidence(self, evidence: AutoEvidence | None) -> None:
        """Resolve settings that are ``auto`` by this evidence, from the next request on.

        Args:
            evidence: Evidence of the artifact that serves; without any nothing passes directly.

        Raises:
            PolicyError: If it names a task that does not exist.
        """
        if evidence is not None and evidence.source not in {OWN, *self._tasks.names}:
            raise PolicyError(
                f"auto evidence: {evidence.source!r} is not a task; the tasks are "
                f"{', '.join(self._tasks.names)}"
            )
        self._evidence = evidence
        self._stale |= dict.fromkeys(self._settings.names)

    def apply_change(self, scenario: str, change: Change | None) -> None:
        """Put a live change in force from the next request on; debts stay.

        Args:
            scenario: Name of the scenario whose settings change; ``*`` for all.
            change: Settings, instead of those of the scenario's previous change; None resets them.

        Raises:
            PolicyError: If the settings would be invalid; nothing has changed then.
        """
        self._settings.apply(scenario, change)
        if scenario == EVERYTHING:
            self._stale |= dict.fromkeys(self._settings.names)
        self._stale[scenario] = None

    def settle(self) -> None:
        """Put changes of settings in force now, not with the next request."""
        self._apply_stale()

    def apply_spending(self, scenario: str, spending: Spending) -> None:
        """Apply a spending report; one of ``*`` is for all scenarios without their own reports."""
        self._apply_stale()
        own = self._scenarios.get(scenario)
        if own is not None:
            own.apply_spending(spending, own=True)
        if scenario == EVERYTHING:
            for found in self._paced:
                if not found.has_own_spending:
                    found.apply_spending(spending, own=False)

    def assign(self, partitions: Collection[int], partition_count: int) -> None:
        """Own these partitions from now on, and no others.

        Args:
            partitions: All partitions of this worker.
            partition_count: Number of partitions of the topic.
        """
        self._apply_stale()
        self._own, self._partition_count = frozenset(partitions), partition_count
        for scenario in self._scenarios.values():
            scenario.assign(self._own, partition_count)

    def merge(self, states: Collection[FleetState]) -> Collection[FleetState]:
        """Use states of the fleet that coordinators published.

        Returns:
            The states that were accepted: newer than those in use, and of scenarios known here.
        """
        self._apply_stale()
        touched, accepted = {}, []
        for state in states:
            scenario = self._scenarios.get(state.scenario)
            if scenario is not None and scenario.merge(state):
                touched[state.scenario] = scenario
                accepted.append(state)
        for scenario in touched.values():
            scenario.retarget()
        return accepted

    def hold(self, scenario: str) -> None:
        """No state of a scenario has come for a while: its fleet's debt is not paid back by it."""
        found = self._scenarios.get(scenario)
        if found is not None:
            found.hold()

    def expire(self, scenario: str) -> None:
        """Forget the state of a scenario, and hold its target standalone."""
        found = self._scenarios.get(scenario)
        if found is not None:
            found.reset_fleet()

    def reset_fleet(self) -> None:
        """Forget the states of all scenarios, and hold every target standalone."""
        for scenario in self._scenarios.values():
            scenario.reset_fleet()

    def summaries(self, elapsed_s: float) -> list[RateSummary]:
        """The summaries to publish: of scenarios that had requests since their last one.

        ``*`` at each call; named scenarios once a second, in turn, ``MAX_SUMMARIES`` at most.

        Args:
            elapsed_s: Time since the last call.
        """
        self._apply_stale()
        self._now_s += elapsed_s
        found = [self._default.summary(self._now_s)]
        named = self._scenarios_by_row.named
        if named and self._now_s - self._named_s >= NAMED_S:
            self._named_s = self._now_s
            for _ in named:
                if len(found) > MAX_SUMMARIES:
                    break
                self._last_published = (self._last_published + 1) % len(named)
                scenario = named[self._last_published]
                if scenario.due(self._now_s):
                    found.append(scenario.summary(self._now_s))
        return [summary for summary in found if summary is not None]

    def acknowledge(self, scenario: str, sequence: int, offset: int) -> None:
        """The broker has a summary of this worker at this offset of its slot."""
        found = self._scenarios.get(scenario)
        if found is not None:
            found.acknowledge(sequence, offset)

    @property
    def _default(self) -> Scenario:
        self._apply_stale()
        return self._scenarios[EVERYTHING]

    def _apply_stale(self) -> None:
        """Apply the settings in force to the scenarios that changed.

        Changes only mark scenarios as stale: so many changes between two calls cost one pass over
        the scenarios, and these are numbered again only if names were added or removed.
        """
        if not self._stale:
            return
        stale, self._stale = self._stale, {}
        renamed = False
        for name in stale:
            configured, known = self._settings.of(name), self._scenarios.get(name)
            if configured is None:
                renamed |= self._scenarios.pop(name, None) is not None
                continue
            in_force = resolve_auto(configured, self._evidence, self._tasks)
            valuation = self._settings.valuation(in_force)
            if known is not None:
                known.apply_settings(in_force, valuation)
                continue
            renamed = True
            made = Scenario(name, in_force, valuation, self._window, self._worker)
            made.assign(self._own, self._partition_count)
            self._scenarios[name] = made
        self._paced = [found for found in self._scenarios.values() if found.paced]
        if renamed:
            named = [found for name, found in self._scenarios.items() if name != EVERYTHING]
            self._scenarios_by_row = ScenariosByRow(self._default, named)
