"""Which processes of the loop are killed, and when: drawn from the seed before anything runs.

Some moments are times, as shares of what the same stretch took undisturbed; others are states that
last milliseconds, which a watcher waits for.
"""

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Target(StrEnum):
    """The process that is killed."""

    WORKER = "worker"
    FEEDBACK = "feedback"
    TRAINER = "trainer"
    REBUILD = "rebuild"  # the trainer's child, which trains and publishes


class Moment(StrEnum):
    """When it is killed."""

    STREAMING = "streaming"  # a time while requests and outcomes are written and read
    BETWEEN_COMMITS = "between commits"  # the outcomes of a flush are committed, its requests not
    REBUILDING = "rebuilding"  # a time in a rebuild
    PUBLISHING = "publishing"  # the first file of a version is in the registry
    CONCLUDED = "concluded"  # the rebuild has its result, which is not announced
    ANNOUNCED = "announced"  # the announcement can be read


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill -9.

    Attributes:
        round: Number of the round, from 0.
        target: What is killed.
        moment: When.
        share: Position in [0, 1) within the stretch, for moments that are times.
        pick: Number in [0, 1) that selects one of several processes.
    """

    round: int
    target: Target
    moment: Moment
    share: float
    pick: float


#: At most three of a round interrupt its rebuild: a process is started five times at most.
_IN_REBUILD: Final = (
    ((Target.TRAINER, Moment.REBUILDING), (Target.REBUILD, Moment.REBUILDING)),
    ((Target.TRAINER, Moment.CONCLUDED), (Target.REBUILD, Moment.REBUILDING)),
    ((Target.REBUILD, Moment.PUBLISHING), (Target.TRAINER, Moment.REBUILDING)),
    ((Target.TRAINER, Moment.ANNOUNCED), (Target.TRAINER, Moment.REBUILDING)),
)
_WHILE_STREAMING: Final = (
    (Target.FEEDBACK, Moment.STREAMING),
    (Target.TRAINER, Moment.BETWEEN_COMMITS),
    (Target.WORKER, Moment.STREAMING),
    (Target.TRAINER, Moment.STREAMING),
)


def draw_kills(seed: int, kills: int, rounds: int) -> list[Kill]:
    """The kills of a run by round: rebuilds first, then the swap, then as much as is left."""
    rng = random.Random(seed)
    offset = rng.randrange(len(_IN_REBUILD))
    drawn = []
    for number in range(rounds):
        count = kills * (number + 1) // rounds - kills * number // rounds
        wanted = [*_IN_REBUILD[(number + offset) % len(_IN_REBUILD)]]
        wanted.append((Target.WORKER, Moment.ANNOUNCED))
        wanted += [_WHILE_STREAMING[n % len(_WHILE_STREAMING)] for n in range(count)]
        drawn += [
            Kill(number, target, moment, rng.random(), rng.random())
            for target, moment in wanted[:count]
        ]
    return drawn
