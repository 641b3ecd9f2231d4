"""Readiness and liveness of a Faust process: does it own partitions, does it make progress?

`update_health` is called about every half second from the event loop; each call is a heartbeat.
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
"""Conditions of readiness."""

EVENT_LOOP: Final = "event loop"
START_S: Final = 300.0
"""Maximum duration of a start: clients, artifact, topics read before the first request."""
LOOP_S: Final = 30.0
"""An event loop without an iteration for so long is blocked; its session has expired, too."""
IDLE_S: Final = 60.0
"""A partition with work that makes no progress for so long makes the process unready."""
STALL_S: Final = 600.0
"""After this time without progress, with reachable brokers and no known cause, it is not live."""


def starting(health: Health) -> None:
    """Set the time limit of the start."""
    health.beat(EVENT_LOOP, START_S)


def update_health(app: faust.App, health: Health, *, excused: bool) -> None:
    """Update `health` from the state of the app.

    Args:
        app: The app.
        health: Its health.
        excused: Whether there is no progress for a reason that a restart would not help against:
            unreachable brokers, a missing topic.
    """
    health.beat(EVENT_LOOP, LOOP_S)
    if joined(app):
        health.met(PARTITIONS)
    else:
        health.unmet(PARTITIONS, "the group has not assigned any")
    idle = _idle(idle_partitions(app))
    if idle:
        health.unmet(PROGRESS, idle)
    else:
        health.met(PROGRESS)
    if not idle or excused:
        health.beat(PROGRESS, STALL_S)


def _idle(idle_s: Mapping[tuple[str, int], float]) -> str:
    """The partition that has been idle the longest, if it exceeds the limit; else empty."""
    if not idle_s:
        return ""
    (topic, partition), longest_s = max(idle_s.items(), key=lambda item: item[1])
    return f"{topic}[{partition}]: none for {longest_s:.0f} s" if longest_s > IDLE_S else ""
