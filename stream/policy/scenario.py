"""One scenario: its settings in force, its controller, its pacing, and its state in the fleet."""

from typing import Final

import numpy as np
import numpy.typing as npt

from models.settings import ScenarioSettings, WindowSettings
from stream.messages import FleetState, RateSummary, Spending
from stream.policy.fleet.ledger import Ledger
from stream.policy.fleet.sketch import RewardSketch
from stream.policy.fleet.view import QUANTILES, FleetView
from stream.policy.rate.controller import InterceptionController, Target, Verdicts
from stream.policy.rate.levels import rankable
from stream.policy.rate.pacing import Pacing
from stream.policy.value.valuation import Valuation

SPARSE_REQUESTS: Final = 100
SPARSE_S: Final = 5.0
"""A named scenario is reported after so many requests, or after one and this time."""


class Scenario:
    """Decides the requests of one scenario.

    Its controller's memory grows with the requests seen, up to the window's length, so that a
    scenario with few requests costs little and keeps its debt for as long as it takes.

    Args:
        name: Its name, or ``*``.
        settings: Its settings in force.
        valuation: Computes the rewards of its requests.
        window: Length and age of the window that thresholds are read from.
        worker: Name under which this worker publishes summaries.
    """

    def __init__(
        self,
        name: str,
        settings: ScenarioSettings,
        valuation: Valuation,
        window: WindowSettings,
        worker: str,
    ) -> None:
        self.name = name
        self._worker = worker
        self.valuation = valuation
        self._fleet = FleetView()
        self.has_own_spending = False
        self._window = window
        self._controller: InterceptionController | None = None
        self._seeded = False
        self._ledger = Ledger()
        self._sketch = RewardSketch(window.requests, QUANTILES)
        self._own: frozenset[int] = frozenset()
        self._partition_count = 0
        self._published_s = 0.0
        self._sequence = 0
        self._acknowledged = 0.0
        self._settings = settings
        self._pacing = self._new_pacing()

    @property
    def rate(self) -> float:
        """r, the share to intercept, from the settings or from pacing."""
        return self._pacing.rate if self._pacing is not None else self._settings.rate

    @property
    def paced(self) -> bool:
        """Whether spending reports move its rate."""
        return self._pacing is not None

    @property
    def explores(self) -> bool:
        """Whether it needs exploration draws."""
        return self._settings.explore > 0.0

    @property
    def controller(self) -> InterceptionController:
        """Its controller, made at the first use."""
        if self._controller is None:
            window = self._window
            self._controller = InterceptionController(
                self._target(), requests=window.requests, seconds=window.seconds
            )
        return self._controller

    def decide(
        self,
        reward_N: npt.NDArray[np.float32],
        uncertainty_N: npt.NDArray[np.float32],
        times_N: npt.NDArray[np.int64],
        draws_N: npt.NDArray[np.float64] | None,
    ) -> Verdicts:
        """Decide its next requests; see :meth:`InterceptionController.decide`."""
        if not self._seeded and len(times_N):
            self._seeded = True
            rewards_M = self._fleet.initial_rewards()
            if len(rewards_M):
                self.controller.seed(rewards_M, int(times_N[0]))
            self._retarget(self.controller)
        return self.controller.decide(reward_N, uncertainty_N, times_N, draws_N)

    def record(
        self,
        partitions_N: npt.NDArray[np.int64],
        times_N: npt.NDArray[np.int64],
        passed_N: npt.NDArray[np.bool_],
    ) -> None:
        """Add decided requests to what the fleet is told."""
        share = 1.0 - self.rate if self._settings.capacity is None else 0.0
        self._ledger.record(partitions_N, times_N, passed_N, share)

    def apply_settings(self, settings: ScenarioSettings, valuation: Valuation) -> None:
        """Use other settings from the next request on."""
        before, self._settings, self.valuation = self._settings, settings, valuation
        if (before.consumption, before.rate) != (settings.consumption, settings.rate):
            self._pacing = self._new_pacing()
        self.retarget()

    def apply_spending(self, spending: Spending, *, own: bool) -> None:
        """Move the rate by a spending report, of the scenario itself or of ``*``."""
        self.has_own_spending |= own
        if self._pacing is not None:
            self._pacing.update(spending)
            self.retarget()

    def assign(self, partitions: frozenset[int], partition_count: int) -> None:
        """Own these partitions from now on, of so many."""
        self._ledger.assign(partitions)
        if partitions != self._own:
            self._sketch.clear()
        self._own, self._partition_count = partitions, partition_count
        self.retarget()

    def merge(self, state: FleetState) -> bool:
        """Use a state of the fleet; :meth:`retarget` makes use of it.

        This worker's own part is computed from its summary in that state, however much it has seen
        since: so all workers split the target by the same figures, and their parts add up to it.

        Returns:
            Whether it is newer than the one in use.
        """
        return self._fleet.merge(state)

    def hold(self) -> None:
        """Pay back nothing of the fleet's debt until the next state."""
        self._fleet.hold()
        self.retarget()

    def reset_fleet(self) -> None:
        """Forget the state of the fleet, and hold the target standalone until the next one."""
        self._fleet.expire()
        self.retarget()

    def retarget(self) -> None:
        """Give the controller, if there is one, its current part of the target."""
        if self._controller is not None:
            self._retarget(self._controller)

    def due(self, now_s: float) -> bool:
        """Whether it has had enough requests, or any for long enough, to be reported."""
        requests = self._ledger.requests
        waited_s = now_s - self._published_s
        return requests >= SPARSE_REQUESTS or (requests > 0 and waited_s >= SPARSE_S)

    def summary(self, now_s: float) -> RateSummary | None:
        """The summary to publish; None without requests since the last one.

        Args:
            now_s: Time that the policy has been told of in all.
        """
        elapsed_s = now_s - self._published_s
        if elapsed_s <= 0.0 or not self._ledger.requests or self._controller is None:
            return None
        self._published_s = now_s
        self._sequence += 1
        sample_Q = rankable(self._controller.sample(QUANTILES))
        rewards_Q = self._sketch.update(sample_Q, self._ledger.requests)
        per_second = self._ledger.measure(elapsed_s)
        owes = self._settings.capacity is None and 0.0 < self.rate < 1.0
        drift = -per_second * self._fleet.surplus(1.0 - self.rate) if owes else 0.0
        made = RateSummary(
            self.name,
            self._worker,
            self._sequence,
            self._ledger.owed,
            self._acknowledged,
            self._controller.debt,
            drift,
            per_second,
            rewards_Q,
        )
        self._fleet.publish(made, now_s)
        return made

    def acknowledge(self, sequence: int, offset: int) -> None:
        """The broker has a summary of this worker at this offset of its slot."""
        owed = self._fleet.acknowledge(sequence, offset)
        if owed is not None:
            self._acknowledged = owed
            state = self._fleet.state
            if state is not None and offset < state.through:  # it came before the answer
                self.retarget()

    def _retarget(self, controller: InterceptionController) -> None:
        target, part = self._target(), None
        if target.capacity is not None:
            count = self._partition_count
            part = self._fleet.capacity_target(target.capacity, len(self._own), count)
        elif self._partition_count and 0.0 < target.rate < 1.0:
            part = self._fleet.share_target(1.0 - target.rate)
        controller.retarget(target, part)

    def _target(self) -> Target:
        settings = self._settings
        direct = 0.0
        if self.valuation.passes_uncertain and settings.direct_share != "auto":
            direct = settings.direct_share
        return Target(self.rate, settings.capacity, direct, settings.explore, settings.slack)

    def _new_pacing(self) -> Pacing | None:
        settings = self._settings
        if settings.consumption is None:
            return None
        return Pacing(settings.consumption, settings.rate)
