"""Coverage and width of off-policy intervals on simulated traffic with known truth.

    python -m benchmarks.offpolicy --worlds 10 --pairs 30

Of each world: policies that differ in r, reward, h or model, pairs of them, and for each pair a log
of a third policy that explores, with draws and events of its own. The truth is the expected
difference in events on these requests. The reference is the self-normalised estimate of the
textbook, normalised over passes and blocks, with percentiles of the same bootstrap.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from benchmarks.offpolicy.worlds import Decided, Doubles, Model, World, decide, draw_settings
from stream.offpolicy.cells import DIGITS, Cells
from stream.offpolicy.estimate import intervals

LEVEL: Final = 0.95
REPLICATES: Final = 500
TEXTBOOK: Final = "snips over passes and blocks"


def cells_of(log: Decided, a_N: Doubles, b_N: Doubles, event_N: Doubles, score_N: Doubles) -> Cells:
    """The cells of a log and two arms in memory."""
    place_N = np.zeros(len(a_N), np.int64)
    for probability_N in (log.pi_N, a_N, b_N):
        values, codes_N = np.unique(probability_N.round(DIGITS), return_inverse=True)
        place_N = place_N * len(values) + codes_N
    _, first_C, place_N = np.unique(place_N, return_index=True, return_inverse=True)
    keys = [probability_N[first_C].round(DIGITS) for probability_N in (log.pi_N, a_N, b_N)]
    seen_N = log.passed_N.astype(np.float64)
    happened_N = seen_N * event_N
    sums = [
        np.bincount(place_N, values_N, minlength=len(first_C))
        for values_N in (
            np.ones_like(seen_N),
            seen_N,
            happened_N,
            score_N,
            score_N * seen_N,
            score_N**2 * seen_N,
            score_N * happened_N,
        )
    ]
    return Cells(*keys, *sums)


def textbook(cells: Cells, rng: np.random.Generator) -> tuple[float, float]:
    """Percentiles of a bootstrap of sum w Y / sum w over all requests, of a minus b."""
    can_C = cells.mu_C > 0
    mu_C = cells.mu_C[can_C]
    block_C = np.where(mu_C < 1, 1 - mu_C, 1.0)
    events_C, labelled_C = cells.events_C[can_C], cells.labelled_C[can_C]
    counts = [
        rng.poisson(count_C, (REPLICATES, len(mu_C)))
        for count_C in (events_C, labelled_C - events_C, cells.requests_C[can_C] - labelled_C)
    ]
    values_R = np.zeros(REPLICATES)
    for sign, pi_C in ((1, cells.pi_a_C[can_C]), (-1, cells.pi_b_C[can_C])):
        pass_C = pi_C / mu_C
        total_R = (counts[0] + counts[1]) @ pass_C + counts[2] @ ((1 - pi_C) / block_C)
        values_R += sign * (counts[0] @ pass_C) / total_R
    low, high = np.quantile(values_R, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2])
    return float(low), float(high)


def judge_world(seed: int, requests: int, pairs: int) -> Iterator[dict[str, Any]]:
    """Estimates and truths of the pairs of one world."""
    rng = np.random.default_rng([seed, 15])
    world = World.simulated(seed, requests)
    models = [Model.of(world, rng) for _ in range(3)]
    arms = [(model, decide(world, model, draw_settings(rng))) for model in models for _ in range(4)]
    truth_NT = world.on_all_NT
    for pair in range(pairs):
        (model_a, a), (model_b, b) = (arms[i] for i in rng.choice(len(arms), 2, replace=False))
        explore = float(rng.choice([0.01, 0.02, 0.05, 0.1]))
        log = decide(world, models[rng.integers(len(models))], draw_settings(rng, explore))
        event_NT = world.events(rng).astype(np.float64)
        own_NT, other_NT = (
            world.tasks.on_all_requests(model.scores_NT).astype(np.float64)
            for model in (model_a, model_b)
        )
        scores_NT = (own_NT + other_NT) / 2
        for column, task in enumerate(world.tasks.names):
            cells = cells_of(log, a.pi_N, b.pi_N, event_NT[:, column], scores_NT[:, column])
            truth = float(((a.pi_N - b.pi_N) * truth_NT[:, column]).mean())
            low, high = textbook(cells, rng)
            found = intervals(cells, LEVEL)
            supported = next(iter(found.values())).supported
            limits = {name: (one.low, one.high) for name, one in found.items()}
            for method, (lower, upper) in (limits | {TEXTBOOK: (low, high)}).items():
                yield {
                    "world": seed,
                    "pair": pair,
                    "task": task,
                    "method": method,
                    "supported": supported,
                    "covered": lower <= truth <= upper,
                    "width": 1000 * (upper - lower),
                }


def report(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Coverage and mean width per method, over the supported estimates of all tasks."""
    groups = defaultdict(list)
    widths = {}
    for row in rows:
        widths[row["world"], row["pair"], row["task"], row["method"]] = row["width"]
        if row["supported"]:
            groups[row["method"]].append(row)
            groups[f"{row['method']}: {row['task']}"].append(row)
    made = {}
    for name, group in sorted(groups.items()):
        own = np.mean([row["width"] for row in group])
        made[name] = {
            "estimates": len(group),
            "coverage": round(float(np.mean([row["covered"] for row in group])), 4),
            "width": round(float(own), 3),
        }
        for reference in ("snips", TEXTBOOK):
            other = [widths[row["world"], row["pair"], row["task"], reference] for row in group]
            made[name][f"width to {reference}"] = round(float(own / np.mean(other)), 3)
    asked = [row for row in rows if row["method"] == TEXTBOOK]
    refused = sum(not row["supported"] for row in asked)
    return {"asked": len(asked), "refused": refused, "methods": made}


def main() -> None:
    """Run the study and print its figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1000, help="Seed of the first world.")
    parser.add_argument("--pairs", type=int, default=30, help="Pairs per world.")
    parser.add_argument("--requests", type=int, default=20_000)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in range(options.first, options.first + options.worlds):
        rows += judge_world(seed, options.requests, options.pairs)
        print(f"world {seed}: {len(rows):,} figures", flush=True)
    print(json.dumps(report(rows), indent=1))


if __name__ == "__main__":
    main()
