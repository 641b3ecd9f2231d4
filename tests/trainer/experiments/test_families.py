import pytest

from models.errors import UserError
from models.features import FeatureSpec
from trainer.experiments.families import COMPARED, DIFFERENCE, measure_family
from trainer.experiments.plan import Plan
from trainer.experiments.runs import named, units
from trainer.experiments.simulated import SimulatedSource
from trainer.simulation.markets import MARKETS
from trainer.training.context import FitContext

SPEC = FeatureSpec.load("openrtb")
PLAN = Plan.quick(2, "ple-mlp")


def test_units_are_chosen_by_the_beginning_of_their_names() -> None:
    """``markets/`` is every family under every seed; what begins nowhere is refused with names."""
    every = list(units(SimulatedSource(SPEC), PLAN, SPEC))
    chosen = named(every, "markets/")
    assert {(unit.name, unit.seed) for unit in chosen} == {
        (f"markets/{name}", seed) for name in MARKETS for seed in (1, 2)
    }
    assert named(every, "") == every
    with pytest.raises(UserError, match=r"no unit begins with 'woods'.*markets/forest"):
        named(every, "woods")


def test_a_family_measures_methods_and_the_plain_difference() -> None:
    """Every method has its figures for every task under the family's name, beside p(1-p)."""
    found = measure_family(SPEC, PLAN, MARKETS["sparse"], FitContext(1)).figures
    for name in (*COMPARED, DIFFERENCE):
        for task in ("click", "online", "cart", "deal"):
            prefix = f"error_finding.sparse.{name}.{task}.within_bins"
            gain = found[f"{prefix}.value"] - found[f"{prefix}.bernoulli"]
            assert found[f"{prefix}.gain"] == pytest.approx(gain)
    assert 0.5 < found["scoring.sparse.swag.click.auc_roc"] < 0.9
