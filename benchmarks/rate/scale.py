"""A fleet of a thousand workers, simulated: one slow, one lost, a region cut off, all back.

``python -m benchmarks.rate.scale [WORKERS]`` prints the figures and writes
``var/bench/rate-scale.json``. Ten partitions per worker, whose scores are shifted; every message is
encoded and decoded as on the topics. Steps are a quarter of a second, so a message takes that long.
"""

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from benchmarks.rate.fleet import SETTINGS, TASKS, Clock
from benchmarks.rate.traffic import RATE
from stream.control.fleet_member import FleetMember
from stream.messages import read_state, read_summary, slot_of, write_state, write_summary
from stream.policy import Policy

ROOT: Final = Path(__file__).resolve().parents[2]
PARTITIONS_EACH: Final = 10
PER_SECOND_EACH: Final = 100
STEP_S: Final = 0.25
EXPIRY_S: Final = 15.0
FAIL_S: Final = 5.0
"""A worker that reaches no broker for so long goes standalone."""
REASSIGN_S: Final = 10.0
"""The group notices a lost worker after a session timeout."""
STEADY_S: Final = 5
SLOW_S: Final = 15
LOST_S: Final = 25
CUT_S: Final = 45
BACK_S: Final = 60
END_S: Final = 75


@dataclass
class Topics:
    """Values on both topics, and their bytes."""

    states: list[tuple[bytes, bytes]] = field(default_factory=list)
    summaries: list[tuple[bytes, bytes]] = field(default_factory=list)

    def size(self) -> tuple[int, int]:
        """Bytes of states and of summaries so far."""
        return tuple(  # type: ignore[return-value]
            sum(len(key) + len(value) for key, value in records)
            for records in (self.states, self.summaries)
        )


class Worker:
    """A worker with its partitions; ``cpu_s`` is what sharing has cost it."""

    def __init__(self, number: int, clock: Clock, partitions: frozenset[int], total: int) -> None:
        self.policy = Policy(SETTINGS, TASKS, worker=f"w{number}")
        self.member = FleetMember(self.policy, EXPIRY_S, clock)
        self.partitions = partitions
        self.total = total
        self.cut = self.slow = False
        self.cpu_s, self.read_bytes, self._read = 0.0, 0, 0

    def join(self, topics: Topics) -> None:
        """Connect and read the states, of which only the last is not yet compacted away."""
        self._read = max(0, len(topics.states) - 1)
        self.member.connect()
        self.member.connected(self.total, 1)
        self._read_states(topics)
        self.member.loaded()
        self.member.assign(self.partitions)

    def share(self, topics: Topics) -> None:
        """Read and publish what is due."""
        begin = time.process_time()
        self._read_states(topics)
        coordinator = self.member.coordinator
        for slot in coordinator.slots:
            for offset in range(coordinator.next_offset(slot), len(topics.summaries)):
                coordinator.receive(slot, offset, read_summary(*topics.summaries[offset]))
            coordinator.caught_up(slot)
        if self.member.due_in_s() <= 0.0:
            topics.states += [write_state(state) for state in self.member.fleet_states()]
            for summary in self.member.updates():
                assert slot_of(summary.scenario, 1) == 0
                topics.summaries.append(write_summary(summary))
                self.member.acknowledge(summary, len(topics.summaries) - 1)
            self.member.expire()
        self.cpu_s += time.process_time() - begin

    def _read_states(self, topics: Topics) -> None:
        records, self._read = topics.states[self._read :], len(topics.states)
        self.read_bytes += sum(len(key) + len(value) for key, value in records)
        if records:
            self.member.receive([read_state(*record) for record in records])


class Simulation:
    """The fleet, its traffic, and what it passed."""

    def __init__(self, workers: int, seed: int = 0) -> None:
        self.clock, self.topics = Clock(), Topics()
        self.rng = np.random.default_rng(seed)
        self.total = workers * PARTITIONS_EACH
        self.shift_P = self.rng.uniform(0.5, 1.6, self.total)
        self.volume_P = self.rng.lognormal(0.0, 0.5, self.total) * PER_SECOND_EACH / PARTITIONS_EACH
        self.workers = [
            Worker(
                n,
                self.clock,
                frozenset(range(n * PARTITIONS_EACH, (n + 1) * PARTITIONS_EACH)),
                self.total,
            )
            for n in range(workers)
        ]
        for worker in self.workers:
            worker.join(self.topics)
        self.seconds: list[tuple[int, int, float, float]] = []

    def second(self) -> None:
        """Play a second, and note requests, passes, and rewards of them and of the best."""
        score, passed = [], []
        for step in range(round(1 / STEP_S)):
            for number, worker in enumerate(self.workers):
                made = self._decide(worker)
                score.append(made[0])
                passed.append(made[1])
                late = worker.slow and (round(self.clock.now_s) % 5 or step)
                if not worker.cut and not late and number % 4 == step:
                    worker.share(self.topics)
            self.clock.now_s += STEP_S
        score_N, passed_N = np.concatenate(score), np.concatenate(passed)
        best = round((1.0 - RATE) * len(score_N))
        self.seconds.append(
            (
                len(score_N),
                int(passed_N.sum()),
                float(score_N[passed_N].sum()),
                float(np.partition(score_N, -best)[-best:].sum()),
            )
        )

    def _decide(self, worker: Worker) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        own_P = np.array(sorted(worker.partitions))
        count_P = self.rng.poisson(self.volume_P[own_P] * STEP_S)
        at_N = self.rng.permutation(np.repeat(own_P, count_P))
        score_N = (self.rng.beta(0.7, 6.0, len(at_N)) * self.shift_P[at_N]).astype(np.float32)
        now_ms = 1000.0 * self.clock.now_s
        time_N = np.sort(now_ms + 1000.0 * STEP_S * self.rng.random(len(at_N))).astype(np.int64)
        scores_N1 = score_N[:, None]
        passed_N = worker.policy.decide(
            np.zeros(len(at_N), np.uint64),
            1 + time_N,
            scores_N1,
            np.zeros_like(scores_N1),
            partitions_N=at_N,
        ).passed_N
        return score_N, passed_N

    def error(self, start: int, stop: int, span: int) -> float:
        """Greatest window error in points over spans of seconds, from start to stop."""
        found = np.array(self.seconds[start:stop])
        sums = [found[at : at + span, :2].sum(axis=0) for at in range(len(found) - span + 1)]
        return float(max(100 * abs(1.0 - passes / seen - RATE) for seen, passes in sums))

    def reward(self, start: int, stop: int) -> float:
        """Reward passed in percent of that of the best of each second."""
        found = np.array(self.seconds[start:stop])
        return float(100 * found[:, 2].sum() / found[:, 3].sum())


class Story:
    """What happens to the fleet, second by second."""

    def __init__(self, fleet: Simulation) -> None:
        self._fleet = fleet
        self._lost = fleet.workers[len(fleet.workers) // 2]
        self._region = fleet.workers[: len(fleet.workers) // 10]

    def before(self, second: int) -> None:
        """What happens before a second is played."""
        workers = self._fleet.workers
        if second == SLOW_S:
            workers[-1].slow = True
        if second == LOST_S:
            workers.remove(self._lost)
        if second == LOST_S + REASSIGN_S:
            heirs = workers[-PARTITIONS_EACH:]
            for worker, partition in zip(heirs, sorted(self._lost.partitions), strict=True):
                worker.partitions |= {partition}
                worker.member.assign(worker.partitions)
        for worker in self._region:
            self._cut(worker, second)

    def _cut(self, worker: Worker, second: int) -> None:
        if second == CUT_S:
            worker.cut = True
        if second == CUT_S + FAIL_S:
            worker.member.fail()
        if second == BACK_S:
            worker.cut = False
            worker.join(self._fleet.topics)


def costs(fleet: Simulation) -> np.ndarray:
    """CPU of all workers and of the coordinator; bytes of both topics, and read by one worker."""
    workers = fleet.workers
    spent_s = sum(worker.cpu_s for worker in workers)
    return np.array([spent_s, workers[0].cpu_s, *fleet.topics.size(), workers[-1].read_bytes])


def simulate(workers: int) -> dict[str, Any]:
    """Play the whole story; the figures."""
    fleet = Simulation(workers)
    story = Story(fleet)
    for second in range(END_S):
        if second == STEADY_S:
            before = costs(fleet)
        if second == SLOW_S:
            spent = (costs(fleet) - before) / (SLOW_S - STEADY_S)
        story.before(second)
        fleet.second()
    spans = {
        "steady": (STEADY_S, SLOW_S),
        "one_slow": (SLOW_S, LOST_S),
        "one_lost": (LOST_S, CUT_S),
        "region_cut_off": (CUT_S, BACK_S),
        "region_back": (BACK_S, END_S),
    }
    return {
        "workers": workers,
        "partitions": fleet.total,
        "requests_per_second": float(np.mean([seen for seen, *_ in fleet.seconds])),
        "error_points_over_1_s": {name: fleet.error(*at, 1) for name, at in spans.items()},
        "error_points_over_5_s": {name: fleet.error(*at, 5) for name, at in spans.items()},
        "reward_percent": {name: fleet.reward(*at) for name, at in spans.items()},
        "worker_cpu_percent": 100 * float(spent[0] - spent[1]) / (workers - 1),
        "coordinator_cpu_percent": 100 * float(spent[1]),
        "rate_state_bytes_per_second": float(spent[2]),
        "rate_summaries_bytes_per_second": float(spent[3]),
        "worker_reads_bytes_per_second": float(spent[4]),
    }


def main() -> None:
    """Measure, print and write."""
    figures = simulate(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000)
    text = json.dumps(figures, indent=2)
    print(text)
    target = ROOT / "var" / "bench" / "rate-scale.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text + "\n")


if __name__ == "__main__":
    main()
