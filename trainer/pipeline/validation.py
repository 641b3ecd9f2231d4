"""Validation of what the trainer consumes: decoded, within bounds of size, names and time.

Every row that passes can be stored. Times are bounded because each hour is a partition of the
store: a wrong clock, or a hostile producer, must not make a hundred thousand of them.
"""

from datetime import UTC, datetime
from typing import Final

from models.bounds import MAX_SKEW_MS
from models.features import FeatureSpec
from models.tasks import TaskSet
from stream.messages import Outcome, RecordError, TrainingExample

DAY_MS: Final = 86_400_000


def read_example(
    value: bytes | None, spec: FeatureSpec | None, now_ms: int, retention_days: float
) -> TrainingExample:
    """Decode and validate an example.

    Args:
        value: Value of a record of the ``training-examples`` topic.
        spec: Feature spec of the serving artifact, None if it is not known; examples that name it
            must have its number of columns and ids.
        now_ms: Wall clock, ms since the epoch.
        retention_days: Age from which examples are refused.

    Raises:
        RecordError: If the example is invalid; the message names the field.
    """
    example = TrainingExample.from_bytes(value)
    if not example.request_id:
        raise RecordError("training example.request_id: empty")
    _check_time("training example", example.ts, now_ms, retention_days)
    if spec is not None and example.spec == spec.hash:
        features = example.features
        if len(features) != spec.columns or max(features) >= spec.rows:
            raise RecordError(
                f"training example.features: {len(features)} ids up to "
                f"{max(features, default=0)}; the spec has {spec.columns} columns, and ids below "
                f"{spec.rows}"
            )
    return example


def read_outcome(
    value: bytes | None, tasks: TaskSet, now_ms: int, retention_days: float
) -> Outcome:
    """Decode and validate an outcome.

    Args:
        value: Value of a record of the ``outcomes`` topic.
        tasks: Tasks that it may name.
        now_ms: Wall clock, ms since the epoch.
        retention_days: Age from which outcomes are refused.

    Raises:
        RecordError: If the outcome is invalid; the message names the field.
    """
    outcome = Outcome.from_bytes(value)
    if not outcome.request_id:
        raise RecordError("outcome.request_id: empty")
    if outcome.task not in tasks.names:
        raise RecordError(
            f"outcome.task: {outcome.task!r} is not a task; the settings name "
            f"{', '.join(tasks.names)}"
        )
    _check_time("outcome", outcome.ts, now_ms, retention_days)
    return outcome


def _check_time(what: str, ts: int, now_ms: int, retention_days: float) -> None:
    if ts > now_ms + MAX_SKEW_MS:
        raise RecordError(
            f"{what}.ts: {_day(ts)} is more than {MAX_SKEW_MS // 60_000} minutes ahead of the clock"
        )
    if ts < now_ms - retention_days * DAY_MS:
        raise RecordError(
            f"{what}.ts: {_day(ts)} is older than trainer.retention_days ({retention_days:g})"
        )


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")
