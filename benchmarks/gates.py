"""How often the gates accept candidates that are not better, and those that are.

    PYTHONPATH=. python benchmarks/gates.py [--markets N] [--rows N] [--families NAME ...]

A family is a kind of market: its tasks, how the scores of both models miss the true
probabilities. Labels are drawn from these, so every candidate's true log-loss is known.

- False: per market, 500 candidates in a row are tried against one serving model at the levels of
  the ledger, half of them with errors as large as the serving model's, half of them a little worse.
  All share the held-out labels. Every candidate is watched continuously: it counts as accepted if
  the lower bound of its improvement is above 0 after any of the rows. Shown is the share of all
  candidates that was accepted, and that of the markets in which any was.
- Power: candidates whose true log-loss is 1 % below the serving model's, as the k-th candidate: the
  share that passes the gate BETTER, the share that passes all gates on labels (with data lacking
  for two candidates before), and the mean of z, the improvement in standard errors.
"""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from models.settings.gates import GateLimits
from models.tasks import Task, TaskSet
from trainer.gates.captured import Policy, passes
from trainer.gates.check import statistical_gates
from trainer.gates.log_loss import Scored, joint_differences
from trainer.gates.paired import lower_path
from trainer.gates.report import Verdict, overall
from trainer.gates.spending import spent_by
from trainer.gates.statistical import Trying

Floats = npt.NDArray[np.float64]
Float32s = npt.NDArray[np.float32]
ALPHA = GateLimits().alpha
CANDIDATES = 500
TRIALS = (1, 10, 100, 500)
WITH_ALL = (1, 100)
"""Trials at which all gates are evaluated."""
BETTER = 0.01
SKILL = 1.2
"""Standard deviation of the true logits."""


@dataclass(frozen=True)
class Family:
    """One kind of market.

    Attributes:
        rates: Label rate per task; the second of three or more is learned among positives of the
            first.
        error: Standard deviation of the serving model's error, in logits.
        shared: Share of that error's variance that candidates have, too.
        tail: Degrees of freedom of the errors; infinite for normal ones.
        shift: Calibration fault of the serving model, in logits.
    """

    rates: tuple[float, ...]
    error: float = 0.4
    shared: float = 0.75
    tail: float = math.inf
    shift: float = 0.0

    @property
    def tasks(self) -> TaskSet:
        names = ("click", "online", "cart", "deal")[: len(self.rates)]
        tasks = [Task(name=name, window_s=60) for name in names]
        if len(tasks) > 2:
            tasks[1] = Task(name="online", population="click", window_s=60)
        return TaskSet(tasks)


FAMILIES = {
    "funnel": Family((0.61, 0.57, 0.064, 0.023)),
    "funnel, errors of their own": Family((0.61, 0.57, 0.064, 0.023), shared=0.25),
    "funnel, heavy tails": Family((0.61, 0.57, 0.064, 0.023), tail=3.0),
    "funnel, calibration off": Family((0.61, 0.57, 0.064, 0.023), shift=0.15),
    "rate 0.5": Family((0.5,)),
    "rate 0.2": Family((0.2,)),
    "rate 0.06": Family((0.06,)),
    "rate 0.02": Family((0.02,)),
    "rate 0.02, heavy tails": Family((0.02,), tail=3.0),
}


class Market:
    """Held-out rows of a family: truth, labels, the serving model's scores."""

    def __init__(self, family: Family, rows: int, seed: int) -> None:
        self.family, self.tasks = family, family.tasks
        self.rng = np.random.default_rng(seed)
        shape = (rows, len(self.tasks))
        common_N1 = self.rng.standard_normal((rows, 1))
        own_NT = self.rng.standard_normal(shape)
        logits_NT = SKILL * (0.8 * common_N1 + 0.6 * own_NT)
        self.logits_NT = logits_NT + [_offset(rate) for rate in family.rates]
        self.true_NT = _sigmoid(self.logits_NT)
        self.labels_NT = (self.rng.random(shape) < self.true_NT).astype(np.float64)
        if self.tasks.names[1:2] == ("online",):
            self.labels_NT[:, 1] *= self.labels_NT[:, 0]
        self.shared_NT = self._errors() * math.sqrt(family.shared)
        serving_NT = self.shared_NT + self._errors() * math.sqrt(1 - family.shared)
        self.serving_NT = _sigmoid(self.logits_NT + serving_NT + family.shift)

    def candidate(self, own: float, shift: float = 0.0) -> Floats:
        """Scores with the shared error, and ``own`` times an error of the candidate's own."""
        errors_NT = self.shared_NT + own * self._errors() * math.sqrt(1 - self.family.shared)
        return _sigmoid(self.logits_NT + errors_NT + shift)

    def equal(self) -> Floats:
        """A candidate of the serving model's kind."""
        return self.candidate(1.0, self.family.shift)

    def worse(self) -> Floats:
        """A candidate whose own error is larger by a tenth."""
        return self.candidate(1.1, self.family.shift)

    def better(self) -> Floats:
        """A candidate that was fitted anew on more: errors smaller so that it is better by 1 %."""
        goal = (1 - BETTER) * self.true_loss(self.serving_NT)
        own_NT = self._errors() * math.sqrt(1 - self.family.shared)
        low, high = 0.0, 1.0
        for _ in range(12):
            size = (low + high) / 2
            scores_NT = _sigmoid(self.logits_NT + size * (self.shared_NT + own_NT))
            low, high = (size, high) if self.true_loss(scores_NT) < goal else (low, size)
        return scores_NT

    def true_loss(self, scores_NT: Floats) -> float:
        """Expected log-loss of all labels of a row."""
        s_NT = np.clip(scores_NT, 1e-6, 1 - 1e-6)
        loss_NT = -(self.true_NT * np.log(s_NT) + (1 - self.true_NT) * np.log(1 - s_NT))
        if self.tasks.names[1:2] == ("online",):
            loss_NT[:, 1] *= self.true_NT[:, 0]
        return float(loss_NT.sum(axis=1).mean())

    def scored(self, candidate_NT: Floats) -> Scored:
        return Scored(candidate_NT, self.serving_NT, self.labels_NT, self.tasks)

    def _errors(self) -> Floats:
        shape, tail = self.logits_NT.shape, self.family.tail
        if math.isinf(tail):
            return self.family.error * self.rng.standard_normal(shape)
        scale = self.family.error / math.sqrt(tail / (tail - 2))
        return np.clip(scale * self.rng.standard_t(tail, shape), -8, 8)


def _sigmoid(logits: Floats) -> Floats:
    return 1 / (1 + np.exp(-logits))


def _offset(rate: float) -> float:
    """The mean logit at which the label rate is this one."""
    grid = np.linspace(-12, 8, 4001)
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    rates = (_sigmoid(grid[:, None] + SKILL * nodes) * weights).sum(axis=1) / weights.sum()
    return float(np.interp(rate, rates, grid))


def false_acceptances(family: Family, rows: int, markets: int, seed: int) -> tuple[float, float]:
    """Share of candidates accepted that are not better, and of markets in which any is."""
    accepted = []
    for number in range(markets):
        market = Market(family, rows, seed + number)
        hits = 0
        for k in range(1, CANDIDATES + 1):
            scores_NT = market.equal() if k % 2 else market.worse()
            differences = joint_differences(market.scored(scores_NT))
            hits += bool((lower_path(differences, spent_by(k, ALPHA)) > 0).any())
        accepted.append(hits)
    return float(np.mean(accepted)) / CANDIDATES, float(np.mean(np.array(accepted) > 0))


def power(
    family: Family, rows: int, markets: int, seed: int
) -> tuple[dict[int, float], dict[int, float], float]:
    """Shares of better candidates that pass BETTER, and all gates on labels, by k; mean z."""
    weights_T = np.array([1.0, 1.0, 5.0, 20.0], np.float32)[: len(family.rates)]
    better = dict.fromkeys(TRIALS, 0)
    every = dict.fromkeys(WITH_ALL, 0)
    z = []
    for number in range(markets):
        market = Market(family, rows, seed + number)
        tasks = market.tasks
        policy = Policy(partial(_reward, tasks, weights_T), 0.6)
        scored = market.scored(market.better())
        differences = joint_differences(scored)
        z.append(differences.values_N.mean() / differences.values_N.std() * math.sqrt(rows))
        none = np.zeros(scored.labels_NT.shape, np.float32)
        passing = passes(scored, policy, (none, none))
        for k in TRIALS:
            level = spent_by(k, ALPHA)
            better[k] += bool(lower_path(differences, level)[-1] > 0)
            if k not in WITH_ALL:
                continue
            found = statistical_gates(scored, passing, Trying(level, GateLimits(), lambda _: 2))
            every[k] += overall(tuple(found)) is Verdict.PASS
    share = {k: count / markets for k, count in better.items()}
    return share, {k: count / markets for k, count in every.items()}, float(np.mean(z))


def _reward(tasks: TaskSet, weights_T: Float32s, s_NT: Float32s, _: Float32s) -> Float32s:
    return tasks.on_all_requests(s_NT) @ weights_T


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--markets", type=int, default=20)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--families", nargs="*", default=list(FAMILIES))
    parser.add_argument("--only", choices=("false", "power"))
    options = parser.parse_args(argv)
    for name in options.families:
        began, family = time.monotonic(), FAMILIES[name]
        words = [name]
        if options.only != "power":
            share, ever = false_acceptances(family, options.rows, options.markets, 1)
            words.append(f"accepted {share:.3%} of {CANDIDATES * options.markets}, any {ever:.1%}")
        if options.only != "false":
            better, every, z = power(family, options.rows, options.markets, 10_001)
            words.append("BETTER " + ", ".join(f"{k}: {p:.0%}" for k, p in better.items()))
            words.append("all " + ", ".join(f"{k}: {p:.0%}" for k, p in every.items()))
            words.append(f"z {z:.1f}")
        print(" | ".join(words), f"({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
