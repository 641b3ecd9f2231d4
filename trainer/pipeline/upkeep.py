"""The daemon's upkeep of its store: maintenance in the background, one step after the other."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from models.process.threads import in_daemon_thread
from models.settings import Settings
from trainer.pipeline.metrics import TrainerMetrics
from trainer.store.event_table import EventTable
from trainer.store.example_store import EXAMPLES, OUTCOMES
from trainer.store.lease import Lease
from trainer.store.maintenance import compact, drop_expired, vacuum

logger = logging.getLogger(__name__)

#: Interval of the rounds, in seconds, and hours of a table that a round compacts.
ROUND_S: Final = 300.0
HOURS: Final = 6
#: Rounds from one vacuum to the next: it lists the whole table.
VACUUM_ROUNDS: Final = 12
Clock = Callable[[], float]


class Upkeep:
    """Maintains both tables while this trainer holds the lease.

    Args:
        settings: All settings.
        lease: The lease of the store.
        metrics: Counts failures.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, settings: Settings, lease: Lease, metrics: TrainerMetrics, clock: Clock
    ) -> None:
        self._settings = settings
        self._lease = lease
        self._metrics = metrics
        self._clock = clock

    async def run(self) -> None:
        """Maintain the store until it is cancelled; failures are logged, counted and retried."""
        for number in range(1 << 62):
            await asyncio.sleep(ROUND_S)
            for step in self._steps(vacuuming=number % VACUUM_ROUNDS == 0):
                if not self._lease.is_held:
                    break
                try:
                    await in_daemon_thread(step)
                except Exception as error:  # noqa: BLE001 - logged and tried again
                    self._metrics.error("maintenance")
                    logger.warning("maintenance of the store failed, retrying: %s", error)

    def _steps(self, *, vacuuming: bool) -> list[Callable[[], object]]:
        trainer = self._settings.trainer
        now_ms = int(self._clock() * 1000)
        steps: list[Callable[[], object]] = []
        for name in (EXAMPLES, OUTCOMES):
            steps += [
                lambda name=name: drop_expired(  # type: ignore[misc]
                    EventTable(trainer.store, name), now_ms, trainer.retention_days
                ),
                lambda name=name: compact(EventTable(trainer.store, name), now_ms, HOURS),  # type: ignore[misc]
            ]
            if vacuuming:
                steps.append(lambda name=name: vacuum(EventTable(trainer.store, name)))  # type: ignore[misc]
        return steps
