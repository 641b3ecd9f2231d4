"""A fleet of workers, simulated in steps of 25 ms: threshold, restarts, rebalances, scaling.

Partitions carry requests at their own speeds and with scores of their own distributions. Workers
and coordinators publish when they would, and read at each step what was published in the ones
before: a message takes 25 ms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.rate.traffic import RATE, SPAN, Bools, Floats, window_error
from models.settings import PolicySettings
from models.tasks import ALL_REQUESTS, Task, TaskSet
from stream.control.fleet_member import FleetMember
from stream.messages import FleetState, RateSummary, slot_of
from stream.policy import Policy

TASKS: Final = TaskSet([Task(name="value", population=ALL_REQUESTS, window_s=1.0)])
SETTINGS: Final = PolicySettings(
    rate=RATE, weights={"value": 1.0}, confidence="score", uncertainty_source="own"
)
STEP_S: Final = 0.025
EXPIRY_S: Final = 15.0
PER_SECOND: Final = 3_000
SPEEDS: Final = (300, 1_000, PER_SECOND, 10_000)
VOLUMES: Final = (1, 2, 4, 8)
SHIFTS: Final = (0.6, 0.85, 1.15, 1.6)


@dataclass(frozen=True)
class Traffic:
    """Requests of all partitions, in the order of their times.

    Attributes:
        score_N: Scores.
        partition_N: Partition of each.
        time_N: Milliseconds.
    """

    score_N: Floats
    partition_N: npt.NDArray[np.int64]
    time_N: npt.NDArray[np.int64]


def arriving(
    count: int, volumes: Sequence[float], shifts: Sequence[float], per_second: int = PER_SECOND
) -> Traffic:
    """Beta(0.7, 6) scores, scaled by each partition's shift; Poisson arrivals."""
    generator = np.random.default_rng(0)
    parts = np.array(volumes, float) / sum(volumes)
    partition_N = generator.choice(len(volumes), count, p=parts)
    score_N = generator.beta(0.7, 6.0, count) * np.array(shifts)[partition_N]
    time_N = np.cumsum(generator.exponential(1000.0 / per_second, count)).astype(np.int64)
    return Traffic(score_N, partition_N, time_N)


def interleaved(count: int, volumes: Sequence[int], shifts: Sequence[float]) -> Traffic:
    """The same with partitions in a fixed, even order, each as often as its volume requires."""
    turns = [(turn / volume, p) for p, volume in enumerate(volumes) for turn in range(volume)]
    partition_N = np.resize(np.array([p for _, p in sorted(turns)]), count)
    score_N = np.random.default_rng(0).beta(0.7, 6.0, count) * np.array(shifts)[partition_N]
    return Traffic(score_N, partition_N, np.arange(count) * 1000 // PER_SECOND)


class Clock:
    """The time of a simulation, in seconds."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now_s


class Worker:
    """A policy and its membership in the fleet; messages take one step of the simulation."""

    def __init__(self, name: str, clock: Clock) -> None:
        self.policy = Policy(SETTINGS, TASKS, worker=name)
        self.member = FleetMember(self.policy, EXPIRY_S, clock)
        self._states_read = 0

    def join(self, topics: "Topics", partitions: int) -> None:
        """Read the states, as a worker does when it starts."""
        self.member.connect()
        self.member.connected(partitions, len(topics.summaries))
        self._read_states(topics)
        self.member.loaded()

    def read(self, topics: "Topics") -> None:
        """Read what has been published, as a member and as a coordinator."""
        self._read_states(topics)
        coordinator = self.member.coordinator
        for slot in coordinator.slots:
            log = topics.summaries[slot]
            for offset in range(coordinator.next_offset(slot), len(log)):
                coordinator.receive(slot, offset, log[offset])
            coordinator.caught_up(slot)

    def write(self, topics: "Topics") -> None:
        """Publish what is due, as a coordinator and as a member."""
        if self.member.due_in_s() <= 0.0:
            topics.states += self.member.fleet_states()
            for summary in self.member.updates():
                log = topics.summaries[slot_of(summary.scenario, len(topics.summaries))]
                log.append(summary)
                self.member.acknowledge(summary, len(log) - 1)
            self.member.expire()

    def _read_states(self, topics: "Topics") -> None:
        states, self._states_read = topics.states[self._states_read :], len(topics.states)
        if states:
            self.member.receive(states)


class Topics:
    """The topics of a fleet."""

    def __init__(self, slots: int) -> None:
        self.states: list[FleetState] = []
        self.summaries: list[list[RateSummary]] = [[] for _ in range(slots)]


class Fleet:
    """Workers that own partitions, and exchange their summaries."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._clock = Clock()
        self._workers: dict[str, Worker] = {}
        self._owners: list[str] = []
        self._started = 0
        self._topics = Topics(1)

    def assign(self, owners: Sequence[str], restarted: Sequence[str] = ()) -> None:
        """Assign each partition to a worker; those in ``restarted`` have lost their state."""
        for name in sorted(set(owners)):
            if name not in self._workers or name in restarted:
                self._started += 1
                # workers are out of step with each other, as those of a running fleet are
                self._clock.now_s += STEP_S
                self._workers[name] = Worker(f"{name}-{self._started}", self._clock)
                self._workers[name].join(self._topics, self._partitions)
        self._workers = {name: self._workers[name] for name in sorted(set(owners))}
        self._owners = list(owners)
        for name, worker in self._workers.items():
            own = [p for p, owner in enumerate(owners) if owner == name]
            worker.member.assign(frozenset(own))

    def decide(self, stretch: Traffic) -> Bools:
        """Decide the requests of one step, then exchange summaries and states."""
        owner_N = np.array(self._owners)[stretch.partition_N]
        passed_N = np.empty(len(owner_N), np.bool_)
        for name, worker in self._workers.items():
            worker.read(self._topics)
            at_N = owner_N == name
            scores_N1 = stretch.score_N[at_N, None].astype(np.float32)
            passed_N[at_N] = worker.policy.decide(
                np.zeros(len(scores_N1), np.uint64),
                stretch.time_N[at_N],
                scores_N1,
                np.zeros_like(scores_N1),
                partitions_N=stretch.partition_N[at_N],
            ).passed_N
        self._clock.now_s += STEP_S
        for worker in self._workers.values():
            worker.write(self._topics)
        return passed_N


def play(
    fleet: Fleet, requests: Traffic, changes: Mapping[int, tuple[Sequence[str], ...]]
) -> Bools:
    """Run a fleet over traffic; ``changes`` are the arguments of ``assign`` by second."""
    step_N = requests.time_N // round(1000 * STEP_S)
    edges = np.searchsorted(step_N, np.arange(step_N[-1] + 2))
    parts, steps = [], round(1 / STEP_S)
    for step, (start, stop) in enumerate(pairwise(edges.tolist())):
        if step % steps == 0 and step // steps in changes:
            fleet.assign(*changes[step // steps])
        at = slice(start, stop)
        stretch = Traffic(requests.score_N[at], requests.partition_N[at], requests.time_N[at])
        parts.append(fleet.decide(stretch))
    return np.concatenate(parts)


def shared(requests: Traffic) -> dict[str, float]:
    """Four workers with a partition each, compared with one controller for all."""
    passed_N = play(Fleet(4), requests, {0: ("abcd",)})
    alone_N = play(Fleet(4), requests, {0: ("aaaa",)})
    settled = slice(SPAN, None)
    reward, best = (requests.score_N[settled][run[settled]].sum() for run in (passed_N, alone_N))
    return {
        "rate_error_points": window_error(passed_N, RATE),
        "reward_percent": 100.0 * float(reward / best),
    }


def elastic(count: int) -> float:
    """Window error in points while workers restart, partitions move, and 1 become 4, then 2."""
    requests = interleaved(count, (1, 2, 4, 8, 1, 2, 4, 8), (*SHIFTS, *reversed(SHIFTS)))
    seconds = count // PER_SECOND
    changes: dict[int, tuple[Sequence[str], ...]] = {
        0: ("aaaaaaaa",),
        seconds // 6: ("aaaaaaaa", "a"),
        2 * seconds // 6: ("aabbccdd",),
        3 * seconds // 6: ("abcdabcd",),
        4 * seconds // 6: ("abcdabcd", "bd"),
        5 * seconds // 6: ("aaaacccc",),
    }
    return window_error(play(Fleet(8), requests, changes), RATE)


def mix_error(requests: Traffic) -> float:
    """Window error in points if every partition passed exactly its share of the long run.

    That share is the part above the common threshold; the rest of the error is the mix of a window
    of 10,000 requests, which varies even so.
    """
    passes_N = requests.score_N > np.quantile(requests.score_N, RATE)
    seen_P = np.bincount(requests.partition_N)
    share_P = np.bincount(requests.partition_N, passes_N) / seen_P
    gone_N = np.concatenate([[0.0], np.cumsum(share_P[requests.partition_N[SPAN:]])])
    mean_N = (gone_N[SPAN:] - gone_N[:-SPAN]) / SPAN
    return float(100 * np.abs(mean_N - passes_N.mean()).max())


def measure(count: int) -> dict[str, object]:
    """The figures of the fleet, under the keys of ``rate.json``.

    Partitions are read in a fixed order. With independent arrivals the mix of a window varies, and
    workers observe it a second later: the error grows with the requests per second.
    """
    independent = {speed: arriving(count, VOLUMES, SHIFTS, speed) for speed in SPEEDS}
    found = {speed: shared(requests) for speed, requests in independent.items()}
    return {
        "fleet": {
            **shared(interleaved(count, VOLUMES, SHIFTS)),
            "independent_rate_error_points": found[PER_SECOND]["rate_error_points"],
            "independent_reward_percent": found[PER_SECOND]["reward_percent"],
            "independent_mix_error_points": mix_error(independent[PER_SECOND]),
        },
        "fleet_independent_error_points_at_per_second": {
            str(speed): one["rate_error_points"] for speed, one in found.items()
        },
        "elastic_error_points": elastic(count),
    }
