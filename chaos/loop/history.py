"""A recorded history: rounds of requests with their outcomes, the same for every run of a seed.

What a rebuild learns from must not depend on when processes were killed. So the requests of a round
lie within seconds of event time, days after those of the round before, and no label of them is
final until the *clock* has been published: records of the examples' topic that are days later, of
a feature spec that no rebuild reads. Whoever waits with the clock until a round is stored decides
what is in the snapshot; repeated deliveries can neither start a rebuild nor add to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.tasks import DEFAULT_TASKS
from stream.messages import Decision, Outcome, Reason, TrainingExample
from stream.transport import Outgoing
from trainer.simulation.simulator import Simulator

DAY_MS: Final = 86_400_000
#: From one round to the next, and from a round to its clock: longer than the longest window.
ROUND_MS: Final = 9 * DAY_MS
CLOCK_MS: Final = ROUND_MS - DAY_MS // 2
#: Requests of a round share their milliseconds in threes, 10 ms apart, so that order is not given.
TOGETHER: Final = 3
STEP_MS: Final = 10
#: Clock records that are published at a time; more than stream time asks to be convinced.
CLOCKS: Final = 40
CLOCK_SPEC: Final = "clock"


@dataclass(frozen=True, slots=True)
class Round:
    """The requests between two rebuilds.

    Attributes:
        requests: Records of the request topic.
        ids: Ids of the requests.
        outcomes: Outcomes, in the order in which they are written.
        clock_ms: Event time by which all labels are final.
    """

    requests: Sequence[Outgoing]
    ids: Sequence[str]
    outcomes: Sequence[Outcome]
    clock_ms: int


def draw_history(seed: int, rounds: int, requests: int, now_ms: int) -> list[Round]:
    """The rounds of a seed; the clock of the last one is before ``now_ms``."""
    simulator, rng = Simulator(seed), np.random.default_rng(seed)
    made = []
    for number in range(rounds):
        start_ms = now_ms - (rounds - number) * ROUND_MS
        traffic = simulator.batch(number * requests, requests)
        ts_N = start_ms + np.arange(requests) // TOGETHER * STEP_MS
        delays_NT = (traffic.delays_s * 1000).astype(np.int64) + 1
        late_NT = ts_N[:, None] + delays_NT > start_ms + CLOCK_MS  # after all have been read
        outcomes = [
            Outcome(
                traffic.ids[row], DEFAULT_TASKS.names[task], int(ts_N[row] + delays_NT[row, task])
            )
            for row, task in np.argwhere(traffic.reached & ~late_NT)
        ]
        records = [
            Outgoing(rid.encode(), value, int(ts), ())
            for rid, value, ts in zip(traffic.ids, traffic.values, ts_N, strict=True)
        ]
        order = rng.permutation(len(outcomes))
        shuffled = [outcomes[place] for place in order]
        made.append(Round(records, traffic.ids, shuffled, start_ms + CLOCK_MS))
    return made


def clock_records(ts: int) -> list[Outgoing]:
    """Examples of another spec that move the trainer's stream time to ``ts``."""
    decision = Decision("", None, None, Reason.FAIL_OPEN, 1.0, 0)
    return [
        Outgoing(
            b"clock", TrainingExample(f"clock-{n}", ts, CLOCK_SPEC, [0], decision).to_bytes(), ts
        )
        for n in range(CLOCKS)
    ]
