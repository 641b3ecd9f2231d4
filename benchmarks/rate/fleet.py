"""A fleet of workers, simulated by the second: common threshold, restarts, rebalances, scaling.

Partitions carry requests at their own speeds and with scores of their own distributions. Every
second each worker reports, and reads what the others said the second before.
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
from stream.messages import PartitionState
from stream.policy import Policy

TASKS: Final = TaskSet([Task(name="value", population=ALL_REQUESTS, window_s=1.0)])
SETTINGS: Final = PolicySettings(
    rate=RATE, weights={"value": 1.0}, confidence="score", uncertainty_source="own"
)
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
    """The same with partitions taking turns evenly, each as often as its volume says."""
    turns = [(turn / volume, p) for p, volume in enumerate(volumes) for turn in range(volume)]
    partition_N = np.resize(np.array([p for _, p in sorted(turns)]), count)
    score_N = np.random.default_rng(0).beta(0.7, 6.0, count) * np.array(shifts)[partition_N]
    return Traffic(score_N, partition_N, np.arange(count) * 1000 // PER_SECOND)


class Fleet:
    """Workers that share partitions and tell each other once a second what they see."""

    def __init__(self, partitions: int) -> None:
        self._partitions = partitions
        self._workers: dict[str, Policy] = {}
        self._owners: list[str] = []
        self._born = 0
        self._topic: dict[int, PartitionState] = {}

    def assign(self, owners: Sequence[str], anew: Sequence[str] = ()) -> None:
        """Give each partition to a worker; those in ``anew`` have lost their memory."""
        for name in set(owners):
            if name not in self._workers or name in anew:
                self._born += 1
                self._workers[name] = Policy(SETTINGS, TASKS, worker=f"{name}-{self._born}")
                self._workers[name].merge(list(self._topic.values()))
        self._workers = {name: self._workers[name] for name in set(owners)}
        self._owners = list(owners)
        for name, worker in self._workers.items():
            own = [p for p, owner in enumerate(owners) if owner == name]
            worker.assign(own, self._partitions)

    def decide(self, stretch: Traffic) -> Bools:
        """One second of requests, and the exchange at its end."""
        owner_N = np.array(self._owners)[stretch.partition_N]
        passed_N = np.empty(len(owner_N), np.bool_)
        for name, worker in self._workers.items():
            at_N = owner_N == name
            scores_N1 = stretch.score_N[at_N, None].astype(np.float32)
            passed_N[at_N] = worker.decide(
                np.zeros(len(scores_N1), np.uint64),
                stretch.time_N[at_N],
                scores_N1,
                np.zeros_like(scores_N1),
                partitions_N=stretch.partition_N[at_N],
            ).passed_N
        for worker in self._workers.values():
            self._topic |= {state.partition: state for state in worker.partition_states(1.0)}
        for worker in self._workers.values():
            worker.merge(list(self._topic.values()))
        return passed_N


def play(
    fleet: Fleet, requests: Traffic, changes: Mapping[int, tuple[Sequence[str], ...]]
) -> Bools:
    """Run a fleet over traffic; ``changes`` are calls of ``assign`` by second."""
    second_N = requests.time_N // 1000
    edges = np.searchsorted(second_N, np.arange(second_N[-1] + 2))
    parts = []
    for second, (start, stop) in enumerate(pairwise(edges.tolist())):
        if second in changes:
            fleet.assign(*changes[second])
        at = slice(start, stop)
        stretch = Traffic(requests.score_N[at], requests.partition_N[at], requests.time_N[at])
        parts.append(fleet.decide(stretch))
    return np.concatenate(parts)


def shared(requests: Traffic) -> dict[str, float]:
    """Four workers, a partition each, against one controller for all of them."""
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

    That share is what lies above the common threshold; what is left is the mix of a window of
    10,000 requests, which varies by itself.
    """
    passes_N = requests.score_N > np.quantile(requests.score_N, RATE)
    seen_P = np.bincount(requests.partition_N)
    share_P = np.bincount(requests.partition_N, passes_N) / seen_P
    gone_N = np.concatenate([[0.0], np.cumsum(share_P[requests.partition_N[SPAN:]])])
    mean_N = (gone_N[SPAN:] - gone_N[:-SPAN]) / SPAN
    return float(100 * np.abs(mean_N - passes_N.mean()).max())


def measure(count: int) -> dict[str, object]:
    """The fleet's figures, under the keys of ``rate.json``.

    Partitions take turns. With independent arrivals the mix of a window itself varies, which
    workers learn of a second later: the more requests come in a second, the more it matters.
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
