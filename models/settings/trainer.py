"""``[trainer]``: the trainer's example store, and when it retrains."""

from datetime import UTC, datetime
from typing import Annotated, Final

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator

from models.settings.gates import GateLimits
from models.settings.section import Port, Section

CRON_FIELDS: Final = ("minute", "hour", "day of the month", "month", "day of the week")


class TrainerSettings(Section):
    """The trainer daemon.

    Attributes:
        store: Folder of the example store, or a URL that Delta Lake takes (``s3://bucket/path``).
        schedule: Cron expression of times in UTC, such as "0 4 * * *", at which a rebuild starts if
            there is anything new; empty for none.
        rebuild_examples: Number of examples that starts a rebuild once all their labels are final.
        rebuild_labels: Number of new final labels of a task that starts a rebuild, by task.
        drift_alarm: Population stability index of a feature or a task's scores above which the
            requests have drifted away from those that the serving model learned; starts a rebuild.
        quality_period_s: Seconds from one measurement of live quality to the next.
        quality_rows: Maximum number of requests of each slice of time that it is measured on.
        poll_s: Seconds that one poll of the examples topic waits.
        quick: Whether to train with the small effort of a trial run, for demonstrations.
        seed: Seed of everything random in training.
        scratch: Folder on a disk for the rows of a rebuild, some 600 bytes each; empty for
            ``scratch`` in the store, which then must be a folder. It must not be shared: its
            folders ``rebuild-*`` are removed.
        max_rebuild_rows: Maximum number of requests in a rebuild, the newest ones.
        retention_days: Days of event time that the store keeps. Older records are refused; it must
            be longer than the longest attribution window.
        keep_negatives: Share of the examples without any event that is kept once all their labels
            are final; their weight grows by its inverse.
        watch_rows: Number of passed requests after a swap over which the new version is watched; 0
            switches it off. What it breaks within them takes it back.
        watch_alpha: Probability that a version that keeps its promises is taken back.
        watch_calibration: Share by which events, and the value of the outcomes, may differ from
            what its scores say of the requests that it passed.
        watch_log_loss: Share by which its log-loss may be above that of the version before.
        gates: What a candidate must show before it may serve.
        metrics_host: Address on which metrics and probes are served.
        metrics_port: Port on which metrics and probes are served; 0 picks a free one.
    """

    store: str = "var/examples"
    schedule: str = "0 4 * * *"
    rebuild_examples: int = Field(default=100_000, ge=100)
    rebuild_labels: dict[str, Annotated[int, Field(ge=1)]] = Field(default={})
    drift_alarm: float = Field(default=0.25, gt=0)
    quality_period_s: float = Field(default=900.0, gt=0)
    quality_rows: int = Field(default=50_000, ge=1_000)
    poll_s: float = Field(default=1.0, gt=0)
    quick: bool = False
    seed: int = 0
    scratch: str = ""
    max_rebuild_rows: int = Field(default=5_000_000, ge=100)
    retention_days: float = Field(default=30.0, gt=0, le=3_660)
    keep_negatives: float = Field(default=1.0, gt=0, le=1)
    watch_rows: int = Field(default=100_000, ge=0, le=1_000_000)
    watch_alpha: float = Field(default=0.01, gt=0, lt=1)
    watch_calibration: float = Field(default=0.15, gt=0, lt=1)
    watch_log_loss: float = Field(default=0.02, gt=0)
    gates: GateLimits = GateLimits()
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 0

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, schedule: str) -> str:
        return check_cron(schedule)


def check_cron(schedule: str) -> str:
    """A cron expression of five fields, or nothing.

    Raises:
        ValueError: Saying what is wrong with it.
    """
    if not schedule:
        return schedule
    fault = None
    if len(schedule.split()) != len(CRON_FIELDS):
        fault = f"{len(schedule.split())} fields"
    else:
        try:
            next(CronSim(schedule, datetime(2024, 1, 1, tzinfo=UTC)))
        except CronSimError as error:
            fault = str(error)
        except StopIteration:
            fault = "no such day exists"
    if fault is not None:
        raise ValueError(
            f"trainer.schedule: {schedule[:100]!r} is no cron expression ({fault}); its five "
            f"fields are {', '.join(CRON_FIELDS)}, as in '0 4 * * *' for daily at 04:00 UTC; "
            "'' is none"
        )
    return schedule
