"""Rounds of selection and retraining: each model learns from what the previous one passed.

All arms start with the same model, fitted on unselected requests. In each round a policy passes
1 - r of the next requests, only these get labels, and the model is fitted again on all labels so
far. Exploration takes a part of the budget; if it pays anywhere, it is here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from trainer.experiments import evaluation, measures
from trainer.experiments.data import Dataset, Float64Array, Mask, Source, World, joined
from trainer.experiments.evaluation import Bench
from trainer.experiments.labs import bench_of, lab_of
from trainer.experiments.plan import Plan
from trainer.experiments.raw import Measured
from trainer.experiments.sweeps import base_world
from trainer.training.context import FitContext
from trainer.uncertainty import METHODS
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Prediction

Pick = Callable[[Bench, Float64Array, Prediction], Float64Array]
"""Bench of a round, score and prediction -> ranking of the direct passes, (N,)."""


@dataclass(frozen=True, slots=True)
class Arm:
    """A policy of the rounds.

    Attributes:
        method: Method that gives scores and uncertainties.
        pick: Ranking of the direct passes; None passes by score alone.
        share: Share of direct passes; None is the plan's, 1 the whole budget.
    """

    method: str
    pick: Pick | None = None
    share: float | None = None


def _random(bench: Bench, _score_N: Float64Array, found: Prediction) -> Float64Array:
    return bench.controls(found)["random"][:, 0]


def _first_task(_bench: Bench, _score_N: Float64Array, found: Prediction) -> Float64Array:
    return found.epistemic_NT[:, 0].astype(np.float64)


ARMS = {
    "score": Arm("swag"),
    "explore": Arm("swag", _random),
    "swag": Arm("swag", _first_task),
    "confirmed": Arm("confirmed", _first_task),
    "unselected": Arm("swag", _random, 1.0),
}
"""``unselected`` labels a random 1 - r of the requests, without any selection."""


def measure_rounds(source: Source, plan: Plan, context: FitContext) -> Measured:
    """Run all arms on one stream; figures are also differences to ``score`` within the seed."""
    world = base_world(source, plan, context, _rows(plan))
    measured = Measured()
    found: dict[str, dict[str, float]] = {}
    for name, arm in ARMS.items():
        curve, found[name] = _play(world, arm, plan, context)
        measured.draw(f"rounds.{name}", range(len(curve)), curve)
    for name, figures in found.items():
        gains = {f"{key}_points": figures[key] - found["score"][key] for key in figures}
        measured.add(f"rounds.{name}", figures | gains)
    return measured


def _play(
    world: World, arm: Arm, plan: Plan, context: FitContext
) -> tuple[list[float], dict[str, float]]:
    """Run one arm: the share of the test's deals that each model keeps, and figures.

    The figures are ``model``, the last of these shares; ``stream``, the share of deals that passed
    in the rounds, direct passes included; and ``auc``, the first task's AUC-ROC; all times 100.
    """
    stop = len(world.train)
    start = round(stop * plan.sizes.small / _rows(plan))
    chunks_K = np.array_split(np.arange(start, stop), plan.rounds)
    labelled = [world.train.take(np.arange(start))]
    kept, passed, worth = [], 0.0, 0.0
    for number, chunk_K in enumerate([*chunks_K, None]):
        lab = _lab(world, labelled, plan, context)
        model = METHODS[arm.method](lab)
        bench = bench_of(world, plan, context.seed)
        prediction = model.predict(world.test.ids_NC)
        score_N = bench.score(prediction)
        by_score = measures.pass_fixed(score_N, score_N, plan.rate, 0.0)
        kept.append(measures.kept(by_score, bench.value_N))
        if chunk_K is None:
            break
        chunk = world.train.take(chunk_K)
        of_round = bench_of(world, plan, context.seed + number, part=chunk)
        passes_N = _passes(of_round, model.predict(chunk.ids_NC), arm, plan)
        passed += float(of_round.value_N[passes_N].sum())
        worth += float(of_round.value_N.sum())
        labelled.append(chunk.take(np.flatnonzero(passes_N)))
    auc = evaluation.quality(bench, prediction)[f"{world.tasks.names[0]}.auc_roc"]
    stream = 100 * passed / max(worth, measures.TINY)
    return kept, {"model": 100 * kept[-1], "stream": stream, "auc": 100 * auc}


def _rows(plan: Plan) -> int:
    """Requests of all rounds and before the first; a smaller store is divided proportionally."""
    return plan.sizes.small + plan.rounds * plan.round_rows


def _lab(world: World, labelled: list[Dataset], plan: Plan, context: FitContext) -> Lab:
    return lab_of(world.layout, joined(labelled), world.tasks, plan, context)


def _passes(bench: Bench, prediction: Prediction, arm: Arm, plan: Plan) -> Mask:
    score_N = bench.score(prediction)
    if arm.pick is None:
        return measures.pass_fixed(score_N, score_N, plan.rate, 0.0).scored_N
    share = plan.share if arm.share is None else arm.share
    passed = measures.pass_fixed(score_N, arm.pick(bench, score_N, prediction), plan.rate, share)
    return np.asarray(passed.direct_N | passed.scored_N)
