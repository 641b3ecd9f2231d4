"""A unit of work: which uncertainties find the net's errors in one family of simulated markets.

An estimate that finds errors in the market it was made for may fail in another; ``base`` of every
family is small enough that all can be measured, with the methods that were ahead in ``standard``.
"""

from typing import Final

import numpy as np

from models.features import FeatureSpec
from trainer.experiments import evaluation
from trainer.experiments.labs import bench_of, earlier_model, lab_of
from trainer.experiments.plan import Plan
from trainer.experiments.raw import Measured
from trainer.experiments.simulated import SimulatedSource
from trainer.simulation.markets import Market
from trainer.training.context import FitContext
from trainer.uncertainty import METHODS
from trainer.uncertainty.lab import Lab
from trainer.uncertainty.method import Ids, Prediction

COMPARED: Final = ("swag", "count", "disagreement", "deup", "confirmed")
DIFFERENCE: Final = "difference"


def measure_family(spec: FeatureSpec, plan: Plan, market: Market, context: FitContext) -> Measured:
    """Error finding in the setting ``base`` of a market of the family, under its name.

    Beside the methods stands ``difference``: half of the distance of the probabilities of the
    teacher and of boosting, both fitted on all rows, without anything learned from held-out labels.
    """
    source = SimulatedSource(spec, market=market)
    earlier = earlier_model(source.layout, source.tasks, plan, context)
    world = source.world("base", context.seed, plan.sizes, earlier, plan.rate)
    lab = lab_of(world.layout, world.train, world.tasks, plan, context)
    bench = bench_of(world, plan, context.seed)
    found = {name: METHODS[name](lab).predict(world.test.ids_NC) for name in COMPARED}
    found[DIFFERENCE] = difference(lab, world.test.ids_NC)
    measured = Measured()
    for name, prediction in found.items():
        u_NT = prediction.epistemic_NT.astype(np.float64)
        figures = evaluation.error_finding(bench, prediction, u_NT)
        measured.add(f"error_finding.{market.name}.{name}", figures)
    quality = evaluation.quality(bench, found["swag"])
    measured.add(f"scoring.{market.name}.swag", quality)
    return measured


def difference(lab: Lab, ids_NC: Ids) -> Prediction:
    """The teacher's score, with half of its distance from boosting as its epistemic spread."""
    mean_NT = lab.scores(ids_NC)
    return Prediction.of(mean_NT, np.abs(lab.boosting().predict(ids_NC) - mean_NT) / 2)
