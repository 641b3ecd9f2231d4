"""The daemon's upkeep of its store: maintenance in the background, one step after the other."""

import asyncio
import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from models.process.threads import in_daemon_thread
from models.settings import Settings
from trainer.service.metrics import TrainerMetrics
from trainer.store.event_table import EventTable
from trainer.store.example_store import EXAMPLES, OUTCOMES
from trainer.store.lease import Lease
from trainer.store.locations import working_folder
from trainer.store.maintenance import compact, drop_expired, vacuum
from trainer.store.thinning import FOLDER, thin
from trainer.store.windows import AttributionWindows

logger = logging.getLogger(__name__)

#: Interval of the rounds, in seconds, and hours of a table that a round compacts.
ROUND_S: Final = 300.0
HOURS: Final = 6
#: Rounds from one vacuum to the next: it lists the whole table.
VACUUM_ROUNDS: Final = 12
#: Hours that are thinned at once: the outcomes of a whole window are read for each batch.
THINNED_HOURS: Final = 24
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
            steps.append(partial(self._drop_expired, name, now_ms))
            if name == EXAMPLES and trainer.keep_negatives < 1:
                steps.append(self._thin)
            steps.append(partial(self._compact, name, now_ms))
            if vacuuming:
                steps.append(partial(self._vacuum, name))
        return steps

    def _table(self, name: str) -> EventTable:
        """The newest version, as an object of its own: the daemon appends meanwhile."""
        return EventTable(self._settings.trainer.store, name)

    def _drop_expired(self, name: str, now_ms: int) -> None:
        drop_expired(self._table(name), now_ms, self._settings.trainer.retention_days)

    def _compact(self, name: str, now_ms: int) -> None:
        compact(self._table(name), now_ms, HOURS)

    def _vacuum(self, name: str) -> None:
        vacuum(self._table(name))

    def _thin(self) -> None:
        trainer, feedback = self._settings.trainer, self._settings.feedback
        folder = Path(trainer.scratch or working_folder(trainer.store, "") / "scratch")
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{FOLDER}*"):  # behind by a trainer that was killed
            shutil.rmtree(left, ignore_errors=True)
        windows = AttributionWindows(
            self._settings.task_set, feedback.time_scale, feedback.lateness_s
        )
        done = thin(
            self._table(EXAMPLES),
            self._table(OUTCOMES),
            windows,
            trainer.keep_negatives,
            folder,
            THINNED_HOURS,
        )
        if done.hours:
            logger.info(
                "thinned %d hours: dropped %d of %d rows", *(done.hours, done.dropped, done.rows)
            )
