"""The schedule of failures: a seeded list of events, drawn before anything runs.

Times are relative to observed progress, so that the same seed gives the same events on a fast
machine and on a slow one.
"""

import random
from dataclasses import dataclass
from enum import StrEnum
from itertools import product


class Kind(StrEnum):
    """Kind of failure."""

    KILL = "kill"  # kill -9 of a worker
    KILL_STARTING = "kill-starting"  # of an extra one, while it starts and joins
    KILL_REBALANCING = "kill-rebalancing"  # of an old one, while an extra one joins
    FREEZE = "freeze"  # SIGSTOP past the session timeout, then SIGCONT: a zombie
    STOP = "stop"  # SIGTERM of a worker: it must drain within 5 s and exit with status 0
    SCALE = "scale"  # one worker more, and after a while one less
    BROKER_KILL = "broker-kill"  # kill -9 of a node
    BROKER_STOP = "broker-stop"  # SIGTERM of a node

    @property
    def kills_worker(self) -> bool:
        """Whether a worker is killed with kill -9."""
        return self in KILLS


KILLS = (Kind.KILL, Kind.KILL_STARTING, Kind.KILL_REBALANCING)


class Target(StrEnum):
    """The Kafka node that fails."""

    LEADER = "leader"  # of a partition of the input topic
    CONTROLLER = "controller"
    GROUP = "group"  # the coordinator of the consumer group
    TRANSACTIONS = "transactions"  # a coordinator of transactions


@dataclass(frozen=True, slots=True)
class Event:
    """One failure.

    Attributes:
        kind: Kind of failure.
        settled: Whether it waits until every partition has made progress since the last event;
            otherwise until any has, so that it may hit a system that is still recovering.
        delay_s: Time from that progress to the event.
        moment: Position in [0, 1) within the duration of the event: how far an extra worker has
            started when it is killed, how long a zombie is suspended.
        pick: Number in [0, 1) that selects the worker or partition.
        target: The node of a broker event.
        bounce: Whether the node restarts at once; otherwise after progress without it.
    """

    kind: Kind
    settled: bool
    delay_s: float
    moment: float
    pick: float
    target: Target | None = None
    bounce: bool = False

    def __str__(self) -> str:
        if self.target is None:
            return str(self.kind)
        return f"{self.kind} {self.target} {'bounce' if self.bounce else 'outage'}"


@dataclass(frozen=True, slots=True)
class Dose:
    """Number of failures of each kind.

    Attributes:
        kills: kill -9 of workers, of all three kinds.
        freezes: Workers suspended past the session timeout.
        stops: SIGTERMs of workers.
        scales: Workers that are added and removed again.
        brokers: Nodes killed or stopped, bounces first; 16 are all combinations once.
    """

    kills: int = 100
    freezes: int = 5
    stops: int = 5
    scales: int = 5
    brokers: int = 0


def draw(seed: int, dose: Dose) -> list[Event]:
    """The events of a run, in order."""
    rng = random.Random(seed)
    kinds = [
        *(KILLS[0] if i % 5 < 3 else KILLS[i % 5 - 2] for i in range(dose.kills)),
        *[Kind.FREEZE] * dose.freezes,
        *[Kind.STOP] * dose.stops,
        *[Kind.SCALE] * dose.scales,
    ]
    ways = list(product((Kind.BROKER_KILL, Kind.BROKER_STOP), Target, (True, False)))
    rng.shuffle(ways)
    ways.sort(key=lambda way: not way[2])  # a node that restarts at once is the mildest failure
    events = [_event(rng, kind) for kind in kinds]
    events += [_event(rng, *ways[i % len(ways)]) for i in range(dose.brokers)]
    rng.shuffle(events)
    return events


def _event(
    rng: random.Random, kind: Kind, target: Target | None = None, bounce: bool = False
) -> Event:
    return Event(
        kind, rng.random() < 0.5, rng.uniform(0, 3), rng.random(), rng.random(), target, bounce
    )
