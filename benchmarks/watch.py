"""How soon the watch finds a poisoned version, and how often it takes a good one back.

Run from the repository root: ``PYTHONPATH=. python benchmarks/watch.py [--runs 1000]``. Requests of
the simulated market that the pretrained artifact was trained on, from after its training; a version
passes the fifth that its own scores value most, and the labels are drawn from the true
probabilities. The version before is the pretrained artifact, and a version as good as it has the
same scores with noise on their logits. Three kinds of versions keep their promises: as good; with
rare events that are exactly as far from the scores as is allowed, beside a version before that is
right; and as good in a market whose events become a third fewer. The rest is poisoned.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.artifact import Artifact, load_artifact
from models.artifact.scorer import Scorer
from models.features import Extractor
from models.features.feature import Feature
from models.features.intake import ingest
from models.settings import Settings
from models.tasks import TaskSet
from trainer.simulation.simulator import Simulator
from trainer.watch.rows import values_of
from trainer.watch.verdict import Watched, WatchLimits, judge

Floats = npt.NDArray[np.floating]
FIRST, COUNT = 150_000, 100_000  # after the training rows
PASSED = 0.2
NOISE = 0.1
LIMITS = WatchLimits()


def logit(p: Floats) -> Floats:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    log_odds: Floats = np.log(p / (1 - p))
    return log_odds


def sigmoid(x: Floats) -> Floats:
    p: Floats = 1 / (1 + np.exp(-x))
    return p


@dataclass
class Market:
    """Requests, their true probabilities, and the artifact that served before."""

    ids_NC: np.ndarray
    true_NT: np.ndarray
    artifact: Artifact
    scorer: Scorer
    scores_NT: np.ndarray

    @property
    def tasks(self) -> TaskSet:
        return self.artifact.tasks

    @classmethod
    def simulated(cls) -> "Market":
        artifact = load_artifact("pretrained:openrtb")
        traffic = Simulator(seed=1).batch(FIRST, COUNT)
        extractor = Extractor(artifact.spec.features)
        ids_NC = ingest(extractor, traffic.values, traffic.timestamps, 10**6).ids_NC
        scorer = Scorer(artifact)
        scores_NT = scorer.score(ids_NC)[0].astype(np.float64)
        return cls(ids_NC, traffic.p_true, artifact, scorer, scores_NT)

    def swapped(self) -> np.ndarray:
        """Scores of the artifact when each of the two features that matter most gets the other."""
        columns = self.artifact.spec.features
        singles = [feature for feature in columns if feature.slots == 1]
        sample_KC = self.ids_NC[:5_000]
        rng = np.random.default_rng(0)

        def effect(feature: Feature) -> float:
            """Log-loss of clicks when the feature is shuffled."""
            shuffled_KC = sample_KC.copy()
            shuffled_KC[:, feature.column] = rng.permutation(shuffled_KC[:, feature.column])
            s_K, p_K = self.scorer.score(shuffled_KC)[0][:, 0], self.true_NT[:5_000, 0]
            return float(-(p_K * np.log(s_K) + (1 - p_K) * np.log(1 - s_K)).mean())

        one, two = sorted(singles, key=effect)[-2:]
        print(f"swapped: {one.name} and {two.name}")
        ids_NC = self.ids_NC.copy()
        for mine, other in ((one, two), (two, one)):
            value_N = self.ids_NC[:, other.column] - other.offset
            ids_NC[:, mine.column] = mine.offset + value_N % mine.size
        return self.scorer.score(ids_NC)[0].astype(np.float64)

    def inverted(self, column: int) -> np.ndarray:
        """The order of one task's scores turned round; their mean stays about the same."""
        scores_NT, logits_N = self.scores_NT.copy(), logit(self.scores_NT[:, column])
        scores_NT[:, column] = sigmoid(2 * np.median(logits_N) - logits_N)
        return scores_NT


def watched(
    market: Market,
    scores_NT: np.ndarray,
    rng: np.random.Generator,
    before_NT: np.ndarray | None = None,
    fewer: float = 1.0,
) -> Watched:
    """What a version passes, with labels drawn anew; ``fewer`` scales the true probabilities."""
    tasks, weights = market.tasks, Settings().policy.weights
    values_T = values_of(weights, tasks.names)
    reward_N = tasks.on_all_requests(scores_NT) @ values_T
    at_K = np.sort(np.argsort(-reward_N, kind="stable")[: int(PASSED * len(reward_N))])
    rng.shuffle(at_K)
    happens_KT = rng.random((len(at_K), len(tasks))) < market.true_NT[at_K] * fewer
    for column, task in enumerate(tasks):
        if task.population in tasks.names:
            happens_KT[:, column] &= happens_KT[:, tasks.index(task.population)]
    before_NT = market.scores_NT if before_NT is None else before_NT
    return Watched(scores_NT[at_K], before_NT[at_K], happens_KT.astype(np.float64), values_T)


def noisy(scores_NT: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return sigmoid(logit(scores_NT) + NOISE * rng.normal(size=scores_NT.shape))


def poisons(market: Market) -> dict[str, np.ndarray]:
    scores_NT = market.scores_NT
    names = market.tasks.names
    swapped_NT = market.swapped()
    inverted = {f"{name} inverted": market.inverted(n) for n, name in enumerate(names)}
    return {
        "two features swapped": swapped_NT,
        **inverted,
        "scores times 1.5": np.clip(scores_NT * 1.5, 0, 1),
        "scores by 1.5": scores_NT / 1.5,
        "odds times 1.5": sigmoid(logit(scores_NT) + np.log(1.5)),
        "all three": np.clip(swapped_NT * 1.5, 0, 1) * (np.arange(len(names)) > 0)
        + np.clip(market.inverted(0) * 1.5, 0, 1) * (np.arange(len(names)) == 0),
    }


def show_poisons(market: Market, seeds: int) -> None:
    for name, scores_NT in poisons(market).items():
        found = []
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            verdict = judge(watched(market, scores_NT, rng), market.tasks, LIMITS)
            found += [(verdict.broken[0].passed, verdict.broken[0])] if verdict.broken else []
        rows = sorted(row for row, _ in found)
        if not rows:
            print(f"{name:22s} found in 0 of {seeds}")
            continue
        most = f"{found[0][1].promise} {found[0][1].task}"
        print(
            f"{name:22s} found in {len(rows)} of {seeds}: after {rows[len(rows) // 2]} passed "
            f"requests (median), {rows[-1]} at most; {most}"
        )


def goods(market: Market) -> dict[str, Callable[[np.random.Generator], Watched]]:
    """Versions that keep their promises: a draw of what each passes."""
    true_NT = market.true_NT
    edge_NT = true_NT.copy()
    for rare in ("cart", "deal"):  # with clicks as well, their log-loss would be over its limit
        edge_NT[:, market.tasks.index(rare)] /= 1 + LIMITS.calibration
    return {
        "as good": lambda rng: watched(market, noisy(market.scores_NT, rng), rng),
        "at the limit": lambda rng: watched(market, edge_NT, rng, true_NT),
        "fewer events": lambda rng: watched(market, noisy(market.scores_NT, rng), rng, None, 2 / 3),
    }


def show_goods(market: Market, runs: int) -> None:
    for name, draw in goods(market).items():
        taken_back = 0
        for seed in range(runs):
            verdict = judge(draw(np.random.default_rng(10**6 + seed)), market.tasks, LIMITS)
            taken_back += bool(verdict.broken)
        print(f"{name:22s} taken back in {taken_back} of {runs} runs")
        sys.stdout.flush()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=10)
    arguments = parser.parse_args()
    market = Market.simulated()
    show_poisons(market, arguments.seeds)
    show_goods(market, arguments.runs)


if __name__ == "__main__":
    main()
