"""What the probes of a Faust process ask: is it part of its group, does it make progress?

`look` is to be called every half second or so from the event loop; that it is called is itself the
first sign of life.
"""

from collections.abc import Mapping
from typing import Final

import faust

from models.process.health import Health
from stream.kafka.group_watch import BROKER
from stream.transport import idle_partitions, joined

PARTITIONS: Final = "partitions"
PROGRESS: Final = "progress"
CONDITIONS: Final = (PARTITIONS, BROKER, PROGRESS)
"""What must be met before a process is ready."""

EVENT_LOOP: Final = "event loop"
START_S: Final = 300.0
"""Longest start: clients, artifact, what there is to read before the first request."""
LOOP_S: Final = 30.0
"""An event loop that does not turn for so long, its session with the group over, stands still."""
IDLE_S: Final = 60.0
"""A partition that has work and makes no progress for so long makes the process unready."""
STALL_S: Final = 600.0
"""After so much longer, with brokers that answer and no cause known, a restart is the only hope."""


def starting(health: Health) -> None:
    """The process begins."""
    health.beat(EVENT_LOOP, START_S)


def look(app: faust.App, health: Health, *, excused: bool) -> None:
    """Bring `health` up to date.

    Args:
        app: The app.
        health: Its health.
        excused: Whether nothing can go on for a cause that a restart would not mend: brokers that
            do not answer, a topic that is missing.
    """
    health.beat(EVENT_LOOP, LOOP_S)
    if joined(app):
        health.met(PARTITIONS)
    else:
        health.unmet(PARTITIONS, "the group has not given them out")
    idle = _idle(idle_partitions(app))
    if idle:
        health.unmet(PROGRESS, idle)
    else:
        health.met(PROGRESS)
    if not idle or excused:
        health.beat(PROGRESS, STALL_S)


def _idle(idle_s: Mapping[tuple[str, int], float]) -> str:
    """Which partition has been idle the longest, if any has for too long; else empty."""
    if not idle_s:
        return ""
    (topic, partition), longest_s = max(idle_s.items(), key=lambda item: item[1])
    return f"{topic}[{partition}]: none for {longest_s:.0f} s" if longest_s > IDLE_S else ""
