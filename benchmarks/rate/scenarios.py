"""Cost of scenarios in time and memory: thousands of them with long-tailed traffic."""

import time
import tracemalloc
from typing import Final

import numpy as np

from benchmarks.rate.fleet import TASKS
from benchmarks.rate.traffic import RATE
from models.settings import PolicySettings
from stream.policy import Policy
from stream.policy.scenario_index import ScenarioIndex

SCENARIOS: Final = 5_000
BATCH: Final = 1024


def policy() -> Policy:
    """A policy with thousands of named scenarios that have the same valuation."""
    named = {f"s{n}": {"rate": RATE} for n in range(SCENARIOS)}
    settings = PolicySettings(
        weights={"value": 1.0},
        confidence="score",
        uncertainty_source="own",
        scenario_path="app.id",
        scenarios=named,
    )
    return Policy(settings, TASKS)


def measure(count: int = 100_000) -> dict[str, float]:
    """Processor time per request in batches of 1,024, and memory per scenario, after ``count``."""
    generator = np.random.default_rng(0)
    rows_K = ScenarioIndex(f"s{n}" for n in range(SCENARIOS)).rows_K
    number_N = np.minimum(generator.zipf(1.2, count) - 1, SCENARIOS - 1)
    score_N1 = generator.beta(0.7, 6.0, (count, 1)).astype(np.float32)
    tracemalloc.start()
    subject = policy()
    before, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    spent = 0.0
    for start in range(0, count, BATCH):
        at = slice(start, start + BATCH)
        rows_N = rows_K[number_N[at]]
        begin = time.process_time()
        subject.decide(
            np.zeros(len(rows_N), np.uint64),
            np.arange(start, start + len(rows_N)),
            score_N1[at],
            np.zeros_like(score_N1[at]),
            scenarios_N=rows_N,
        )
        spent += time.process_time() - begin
    return {
        "scenarios_microseconds_per_request": spent / count * 1e6,
        "scenarios_in_a_batch": float(
            np.mean([len(np.unique(number_N[at : at + BATCH])) for at in range(0, count, BATCH)])
        ),
        "scenarios_bytes_each": before / SCENARIOS,
    }
