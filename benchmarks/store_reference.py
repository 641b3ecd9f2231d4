"""The store against a brute-force reference: a million events, and a writer that is killed.

    PYTHONPATH=. python benchmarks/store_reference.py [--events 1000000] [--kills 30] [--seed 1]

Requests and outcomes on four partitions each, in random order of event time over twelve hours; ids
that are delivered twice or used again, outcomes that are repeated, early, late or without a
request. The process that stores them is killed (`kill -9`) at random moments and started again;
then the tables are compacted. The snapshot must say of every request what a join of lists in
memory says.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from stream.messages import Outcome, TrainingExample
from tests.trainer.store.rows import (
    EXAMPLES,
    OUTCOMES,
    SPEC,
    START,
    WINDOWS,
    brute_force,
    contents,
    example,
    store_at,
)
from trainer.store.example_store import batch_of, example_rows, outcome_rows
from trainer.store.maintenance import compact
from trainer.store.snapshot import write_snapshot

VAR = Path("var")
PARTITIONS = 4
SPAN_MS = 12 * 3_600_000
FLUSH = 2_500
Examples = list[list[TrainingExample]]
Outcomes = list[list[Outcome]]


def topics(events: int, seed: int) -> tuple[Examples, Outcomes]:
    """The records of both topics by partition, in order of their offsets."""
    rng = random.Random(seed)
    requests = [
        example(f"r{number}", START + rng.randrange(SPAN_MS), rng.randrange(12))
        for number in range(events * 11 // 20)
    ]
    again = [one for one in requests if rng.random() < 0.05]
    reused = [
        example(one.request_id, START + rng.randrange(SPAN_MS), rng.randrange(12))
        for one in requests
        if rng.random() < 0.02
    ]
    outcomes: list[Outcome] = []
    while len(outcomes) < events - len(requests) - len(again) - len(reused):
        of = rng.choice(requests)
        rid = of.request_id if rng.random() < 0.97 else f"none{rng.randrange(events)}"
        at = of.ts + rng.choice([rng.randrange(-5_000, 70_000), rng.randrange(9_000_000)])
        outcomes.append(Outcome(rid, rng.choice(["click", "deal"]), max(START - 3_600_000, at)))
        if rng.random() < 0.05:
            outcomes.append(outcomes[-1])
    deliveries = [*requests, *again, *reused]
    rng.shuffle(deliveries)
    rng.shuffle(outcomes)
    return (
        [deliveries[partition::PARTITIONS] for partition in range(PARTITIONS)],
        [outcomes[partition::PARTITIONS] for partition in range(PARTITIONS)],
    )


def write(folder: str, examples: Examples, outcomes: Outcomes) -> None:
    """Store what is not stored yet."""
    store = store_at(folder)
    while True:
        batch = batch_of([], [], {}, {})
        for partition in range(PARTITIONS):
            first = store.offset(EXAMPLES, partition)
            made = examples[partition][first : first + FLUSH]
            for row in example_rows(made, partition, first):
                batch.add_example(row)
            if made:
                batch.example_offsets[partition] = first + len(made)
            first = store.offset(OUTCOMES, partition)
            hits = outcomes[partition][first : first + FLUSH]
            for hit in outcome_rows(hits, partition, first):
                batch.add_outcome(hit)
            if hits:
                batch.outcome_offsets[partition] = first + len(hits)
        if not len(batch):
            return
        store.append(batch, START + SPAN_MS // 2)


def killed_until_done(run: Callable[[], None], kills: int, rng: random.Random) -> int:
    """Run in a child process, killing it so many times; returns how often it was killed."""
    for number in range(kills + 1):
        child = os.fork()
        if child == 0:
            run()
            os._exit(0)
        if number < kills:
            time.sleep(rng.uniform(0.5, 8.0))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return number
        assert os.WTERMSIG(status) == signal.SIGKILL, status
    raise AssertionError("the last run was not finished")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    VAR.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=VAR) as folder:
        began = time.monotonic()
        examples, outcomes = topics(given.events, given.seed)
        kills = killed_until_done(
            partial(write, folder, examples, outcomes), given.kills, random.Random(given.seed)
        )
        store = store_at(folder)
        for table in (store.examples, store.outcomes):
            compact(table, START + 99 * SPAN_MS, 100)
        done = write_snapshot(folder, Path(folder) / "out", SPEC, WINDOWS, 10**9)
        found = contents(Path(folder) / "out")
        deliveries = [
            (one, partition, offset)
            for partition, made in enumerate(examples)
            for offset, one in enumerate(made)
        ]
        expected = brute_force(
            deliveries, (hit for made in outcomes for hit in made), done.watermark
        )
        differ = {rid for rid in found.keys() | expected if found.get(rid) != expected.get(rid)}
        print(
            f"{sum(map(len, examples)) + sum(map(len, outcomes))} events, {kills} kills, "
            f"{done.rows} requests: {len(differ)} differ; {time.monotonic() - began:.0f} s"
        )
    if differ:
        sys.exit(1)


if __name__ == "__main__":
    main()
