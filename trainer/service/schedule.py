"""When the next rebuild starts, and why.

A rebuild starts at the times of a cron expression if any label has become final since the last
one, after so many examples all of whose labels have, after so many final labels of one task (which
a task with a short window has long before), on a drift alarm, and some time after a failed one.
Pure: the caller passes the time in, reports what is new and how rebuilds end, and starts what is
due.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Self

from cronsim import CronSim

from models.settings.trainer import TrainerSettings

RETRY_S: Final = 900.0
"""Delay before a failed rebuild is retried, unless one is due before."""


class Reason(StrEnum):
    """Why a rebuild starts; a label of metrics and part of the announcement."""

    SCHEDULE = "schedule"
    EXAMPLES = "examples"
    LABELS = "labels"
    DRIFT = "drift"
    RETRY = "retry"
    RESUMED = "resumed"
    RETEST = "retest"


@dataclass(frozen=True, slots=True)
class Trigger:
    """A rebuild that is due.

    Attributes:
        reason: The kind of reason.
        text: The reason as a sentence, with the setting that it comes from.
    """

    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that a schedule follows.

    Attributes:
        cron: Times in UTC at which a rebuild starts; empty for none.
        examples: Number of new examples, with all labels final, that starts one.
        labels: Number of new final labels of a task that starts one.
        retry_s: Delay before a failed rebuild is retried, in seconds.
    """

    cron: str
    examples: int
    labels: Mapping[str, int]
    retry_s: float

    @classmethod
    def of(cls, settings: TrainerSettings) -> Self:
        """The rules of the section ``[trainer]``."""
        return cls(settings.schedule, settings.rebuild_examples, settings.rebuild_labels, RETRY_S)


class Schedule:
    """Says whether the next rebuild is due, by what is new since the last one began.

    Args:
        rules: What starts a rebuild.
        began_s: When the last rebuild began, in seconds since the epoch; without one, now.

    Attributes:
        examples: Examples whose labels have all become final since the last rebuild began.
        labels: Labels that have become final since then, by task.
    """

    def __init__(self, rules: Rules, began_s: float) -> None:
        self._rules = rules
        self.examples = 0
        self.labels: Mapping[str, int] = {}
        self._next_s = _following(rules.cron, began_s)
        self._retry_s: float | None = None
        self._drift: str | None = None
        self._alarmed: str | None = None

    @property
    def next_s(self) -> float | None:
        """Next time of the cron expression, seconds since the epoch; None without one."""
        return self._next_s

    def observe(self, examples: int, labels: Mapping[str, int]) -> None:
        """Set what is new since the last rebuild began."""
        self.examples = examples
        self.labels = labels

    def alarm(self, version: str, drift: str | None) -> None:
        """Report whether a model's requests have drifted away from those that it learned.

        An alarm starts one rebuild. The next one starts when the alarm has gone and comes back, or
        when another model has it: a candidate that is refused must not be built again and again.

        Args:
            version: Version of the serving model.
            drift: What has drifted, as a sentence; None without an alarm.
        """
        if drift is None:
            self._drift = self._alarmed = None
        elif self._alarmed != version:
            self._drift = drift
            self._alarmed = version

    def due(self, now_s: float) -> Trigger | None:
        """The reason to start a rebuild now, None if none is due."""
        rules = self._rules
        if self._retry_s is not None and now_s >= self._retry_s:
            return Trigger(Reason.RETRY, "the last one failed")
        if self._drift is not None:
            return Trigger(Reason.DRIFT, f"{self._drift} (trainer.drift_alarm)")
        for task, wanted in rules.labels.items():
            if self.labels.get(task, 0) >= wanted:
                text = f"{self.labels[task]} new {task} labels (trainer.rebuild_labels.{task})"
                return Trigger(Reason.LABELS, text)
        if self.examples >= rules.examples:
            text = f"{self.examples} new mature examples (trainer.rebuild_examples)"
            return Trigger(Reason.EXAMPLES, text)
        if self._next_s is not None and now_s >= self._next_s and self._anything:
            return Trigger(Reason.SCHEDULE, f"at {_moment(self._next_s)} (trainer.schedule)")
        return None

    def begin(self, now_s: float) -> None:
        """Record that a rebuild begins: what is final now counts for it."""
        self.examples = 0
        self.labels = dict.fromkeys(self.labels, 0)
        self._retry_s = self._drift = None
        self._next_s = _following(self._rules.cron, now_s)

    def end(self, now_s: float, *, failed: bool) -> None:
        """Record the end of a rebuild; a failed one is retried."""
        if failed:
            self._retry_s = now_s + self._rules.retry_s

    def outlook(self, now_s: float) -> str:
        """When the next rebuild starts, for the log."""
        rules = self._rules
        if self._retry_s is not None:
            return f"the failed rebuild is retried in {max(0.0, self._retry_s - now_s):.0f} s"
        ways = [f"after {max(0, rules.examples - self.examples)} more mature examples"]
        ways += [
            f"after {max(0, wanted - self.labels.get(task, 0))} more {task} labels"
            for task, wanted in rules.labels.items()
        ]
        if self._next_s is not None:
            ways.append(f"at {_moment(self._next_s)}{'' if self._anything else ' if any come'}")
        return f"the next rebuild starts {', or '.join(ways)}"

    @property
    def _anything(self) -> bool:
        return self.examples > 0 or any(self.labels.values())


def _following(cron: str, now_s: float) -> float | None:
    """The first time of a cron expression after ``now_s``, UTC; None if there is none."""
    if not cron:
        return None
    try:
        return next(CronSim(cron, datetime.fromtimestamp(now_s, UTC))).timestamp()
    except StopIteration:
        return None


def _moment(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
