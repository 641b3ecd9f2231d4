"""One scenario: its settings in force, its controller, its pacing, and its part of the fleet."""

import numpy as np
import numpy.typing as npt

from models.settings import ScenarioSettings, WindowSettings
from stream.messages import PartitionState, Spending
from stream.policy.fleet.partition_debt import PartitionBooks
from stream.policy.fleet.view import QUANTILES, FleetView
from stream.policy.rate.controller import InterceptionController, Target, Verdicts
from stream.policy.rate.levels import rankable
from stream.policy.rate.pacing import Pacing
from stream.policy.value.valuation import Valuation


class Scenario:
    """Decides the requests of one scenario.

    Its controller's memory grows with the requests seen, up to the window's length, so that a
    scenario with few requests costs little and keeps what it owes for as long as it takes.

    Args:
        name: Its name, or ``*``.
        settings: Those in force.
        valuation: What its requests are worth.
        window: What thresholds are read off.
        worker: Who speaks to the fleet.
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
        self.reported = False
        self._window = window
        self._started: InterceptionController | None = None
        self._seeded = False
        self._books = PartitionBooks()
        self._own: frozenset[int] = frozenset()
        self._partitions = 0
        self._elapsed_s = 0.0
        self._told_debt = 0.0
        self._settings = settings
        self._pacing = self._new_pacing()

    @property
    def rate(self) -> float:
        """r, the share to intercept, as settings or pacing have it."""
        return self._pacing.rate if self._pacing is not None else self._settings.rate

    @property
    def paced(self) -> bool:
        """Whether reports on a budget move its rate."""
        return self._pacing is not None

    @property
    def explores(self) -> bool:
        """Whether draws are needed."""
        return self._settings.explore > 0.0

    @property
    def controller(self) -> InterceptionController:
        """Its controller, made when it is needed first."""
        if self._started is None:
            window = self._window
            self._started = InterceptionController(
                self._target(), requests=window.requests, seconds=window.seconds
            )
        return self._started

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
            seeds_M = self._fleet.seeds(self._own)
            if len(seeds_M):
                self.controller.seed(seeds_M, int(times_N[0]))
            self._aim(self.controller)
        return self.controller.decide(reward_N, uncertainty_N, times_N, draws_N)

    def account(
        self,
        partitions_N: npt.NDArray[np.int64],
        times_N: npt.NDArray[np.int64],
        passed_N: npt.NDArray[np.bool_],
    ) -> None:
        """Keep the books of each partition."""
        share = 1.0 - self.rate if self._settings.capacity is None else 0.0
        self._books.account(partitions_N, times_N, passed_N, share)

    def steer(self, settings: ScenarioSettings, valuation: Valuation) -> None:
        """Hold other settings from the next request on."""
        before, self._settings, self.valuation = self._settings, settings, valuation
        if (before.consumption, before.rate) != (settings.consumption, settings.rate):
            self._pacing = self._new_pacing()
        self.reconsider()

    def spend(self, spending: Spending, *, own: bool) -> None:
        """Take in a report on the scenario's budget, or on that of all."""
        self.reported |= own
        if self._pacing is not None:
            self._pacing.report(spending)
            self.reconsider()

    def own(self, partitions: frozenset[int], of: int) -> None:
        """These partitions, of so many, are this worker's; what is due there comes with them."""
        self._books.own(partitions, self._fleet.heard)
        self._own, self._partitions = partitions, of
        self.reconsider()

    def merge(self, state: PartitionState) -> bool:
        """Take in what a worker said; :meth:`reconsider` makes use of it.

        That goes for this worker's own words too, once they are read back: so all workers split
        the target by the same states, and their parts add up to it.

        Returns:
            Whether it is the partition's last owner who said it, or one after it.
        """
        believed = self._fleet.merge(state)
        if state.worker != self._worker:
            self._books.hear(state.partition, state.due, state.tenure)
        return believed

    def silence(self, partition: int) -> None:
        """Nobody has said anything of a partition lately."""
        self._fleet.silence(partition)

    def forget_fleet(self) -> None:
        """Hold the target with the own requests only."""
        self._fleet = FleetView()
        self._told_debt = 0.0

    def reconsider(self) -> None:
        """Tell the controller, if there is one, its part of the target as it is now."""
        if self._started is not None:
            self._aim(self._started)

    def wait(self, elapsed_s: float) -> None:
        """Time goes by until the next report."""
        self._elapsed_s += elapsed_s

    def report(self) -> list[PartitionState]:
        """What to tell the fleet of the partitions that had requests since the last time."""
        elapsed_s, self._elapsed_s = self._elapsed_s, 0.0
        entries = self._books.report(elapsed_s) if elapsed_s > 0.0 else []
        if not entries or self._started is None:
            return []
        self._told_debt = self._started.debt
        rewards_Q = rankable(self._started.sample(QUANTILES))
        return [
            PartitionState(
                self.name, entry.partition, entry.due, entry.per_second, rewards_Q,
                self._worker, entry.tenure,
            )
            for entry in entries
        ]  # fmt: skip

    def _aim(self, controller: InterceptionController) -> None:
        target, aim = self._target(), None
        if target.capacity is not None:
            aim = self._fleet.limit(target.capacity, self._own, self._partitions)
        elif self._partitions and 0.0 < target.rate < 1.0:
            aim = self._fleet.aim(1.0 - target.rate, self._own, self._told_debt)
        controller.steer(target, aim)

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
