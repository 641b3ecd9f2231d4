"""Maintenance of the store's tables by their writer: retention, compaction, vacuum.

A flush every ten seconds makes 360 files an hour. Once an hour of event time has ended they are
merged into files of ``TARGET_BYTES``, so that the number of files, and with it Delta's log, is
bounded by the hours that are kept. Replaced files stay on the disk for ``KEPT_HOURS``: a snapshot
that began before goes on reading them.
"""

import logging
from collections.abc import Iterator
from typing import Final

from deltalake.exceptions import DeltaError

from models.bounds import MAX_SKEW_MS
from trainer.store.event_table import KEPT_HOURS, WRITER, DataFile, EventTable
from trainer.store.schemas import HOUR, HOUR_MS, hour_of, hour_start_ms

logger = logging.getLogger(__name__)

TARGET_BYTES: Final = 64 << 20
#: Files of an hour that could be merged, from which on they are: late rows come in small files, and
#: an hour must not be written again for each of them.
MERGED_FILES: Final = 8
#: Time after the end of an hour from which on it is compacted: clocks differ.
SETTLED_MS: Final = MAX_SKEW_MS


class MaintenanceError(OSError):
    """Maintenance that failed, and will be tried again; the message names the table."""


def drop_expired(table: EventTable, now_ms: int, retention_days: float) -> int:
    """Drop the hours that ended before the retention; the number of dropped rows.

    Raises:
        MaintenanceError: If that fails, for example because the writer appended to such an hour.
    """
    first_kept = hour_of(max(0, now_ms - int(retention_days * 86_400_000)))
    expired = [file for file in table.files if file.hour < first_kept]
    if expired:
        try:
            table.delta.delete(f"{HOUR} < '{first_kept}'")
        except (DeltaError, OSError) as error:
            raise MaintenanceError(f"{table.url}: retention: {error}") from error
        logger.info("%s: dropped %d files before %s", table.url, len(expired), first_kept)
    return sum(file.rows for file in expired)


def compact(table: EventTable, now_ms: int, most_hours: int) -> int:
    """Merge the small files of hours that have ended; the number of merged hours.

    Args:
        table: The table.
        now_ms: Wall clock, ms since the epoch.
        most_hours: Number of hours after which it stops.

    Raises:
        MaintenanceError: If it fails for an hour; the other ones are compacted before.
    """
    failures: list[str] = []
    merged = 0
    for hour in list(_mergeable_hours(table.files, now_ms))[:most_hours]:
        try:
            done = table.delta.optimize.compact(
                partition_filters=[(HOUR, "=", hour)],
                target_size=TARGET_BYTES,
                max_concurrent_tasks=1,
                writer_properties=WRITER,
            )
        except (DeltaError, OSError) as error:
            failures.append(f"{hour}: {error}")
            continue
        merged += 1
        logger.debug(
            "%s: %s: %d files merged into %d",
            *(table.url, hour, done["numFilesRemoved"], done["numFilesAdded"]),
        )
    if failures:
        raise MaintenanceError(f"{table.url}: compaction of {'; '.join(failures)}")
    return merged


def vacuum(table: EventTable) -> int:
    """Remove replaced files that no reader can need any more; their number.

    Raises:
        MaintenanceError: If that fails.
    """
    try:
        removed = table.delta.vacuum(
            retention_hours=KEPT_HOURS,
            enforce_retention_duration=False,
            dry_run=False,
            full=True,  # also files of writers that were killed before they committed
        )
    except (DeltaError, OSError) as error:
        raise MaintenanceError(f"{table.url}: vacuum: {error}") from error
    return len(removed)


def _mergeable_hours(files: list[DataFile], now_ms: int) -> Iterator[str]:
    """Hours that have ended and have many small files, newest first."""
    small: dict[str, int] = {}
    for file in files:
        if file.size < TARGET_BYTES // 2:
            small[file.hour] = small.get(file.hour, 0) + 1
    for hour in sorted(small, reverse=True):
        ended = hour_start_ms(hour) + HOUR_MS + SETTLED_MS <= now_ms
        if ended and small[hour] >= MERGED_FILES:
            yield hour
