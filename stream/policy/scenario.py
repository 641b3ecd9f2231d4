"""One scenario: its settings in force, its controller, its pacing, and its state in the fleet."""

import numpy as np
import numpy.typing as npt

from models.settings import ScenarioSettings, WindowSettings
from stream.messages import PartitionState, Spending
from stream.policy.fleet.partition_debt import PartitionDebts
from stream.policy.fleet.view import QUANTILES, FleetView
from stream.policy.rate.controller import InterceptionController, Target, Verdicts
from stream.policy.rate.levels import rankable
from stream.policy.rate.pacing import Pacing
from stream.policy.value.valuation import Valuation


class Scenario:
    """Decides the requests of one scenario.

    Its controller's memory grows with the requests seen, up to the window's length, so that a
    scenario with few requests costs little and keeps its debt for as long as it takes.

    Args:
        name: Its name, or ``*``.
        settings: Its settings in force.
        valuation: Computes the rewards of its requests.
        window: Length and age of the window that thresholds are read from.
        worker: Name under which this worker publishes states.
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
        self._debts = PartitionDebts()
        self._own: frozenset[int] = frozenset()
        self._partition_count = 0
        self._elapsed_s = 0.0
        self._published_debt = 0.0
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
            rewards_M = self._fleet.initial_rewards(self._own)
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
        """Add decided requests to the debts of their partitions."""
        share = 1.0 - self.rate if self._settings.capacity is None else 0.0
        self._debts.record(partitions_N, times_N, passed_N, share)

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
        """Own these partitions from now on, of so many; their debts are transferred here."""
        self._debts.assign(partitions, self._fleet.latest)
        self._own, self._partition_count = partitions, partition_count
        self.retarget()

    def merge(self, state: PartitionState) -> bool:
        """Merge the published state of a partition; :meth:`retarget` makes use of it.

        This worker's own states count too, once they are read back: so all workers split the
        target by the same states, and their parts add up to it.

        Returns:
            Whether it is of the latest generation, or a later one.
        """
        accepted = self._fleet.merge(state)
        if state.worker != self._worker:
            self._debts.receive(state.partition, state.debt, state.generation)
        return accepted

    def expire(self, partition: int) -> None:
        """Count a partition without recent updates as one without requests."""
        self._fleet.expire(partition)

    def reset_fleet(self) -> None:
        """Drop the states of the fleet and hold the target standalone."""
        self._fleet = FleetView()
        self._published_debt = 0.0

    def retarget(self) -> None:
        """Give the controller, if there is one, its current part of the target."""
        if self._controller is not None:
            self._retarget(self._controller)

    def add_elapsed(self, elapsed_s: float) -> None:
        """Add to the time since the last call of :meth:`partition_states`."""
        self._elapsed_s += elapsed_s

    def partition_states(self) -> list[PartitionState]:
        """The states to publish: of partitions that had requests since the last call."""
        elapsed_s, self._elapsed_s = self._elapsed_s, 0.0
        updates = self._debts.updates(elapsed_s) if elapsed_s > 0.0 else []
        if not updates or self._controller is None:
            return []
        self._published_debt = self._controller.debt
        rewards_Q = rankable(self._controller.sample(QUANTILES))
        return [
            PartitionState(
                self.name, update.partition, update.debt, update.per_second, rewards_Q,
                self._worker, update.generation,
            )
            for update in updates
        ]  # fmt: skip

    def _retarget(self, controller: InterceptionController) -> None:
        target, part = self._target(), None
        if target.capacity is not None:
            part = self._fleet.capacity_target(target.capacity, self._own, self._partition_count)
        elif self._partition_count and 0.0 < target.rate < 1.0:
            part = self._fleet.share_target(1.0 - target.rate, self._own, self._published_debt)
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
