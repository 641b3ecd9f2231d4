from pathlib import Path

import numpy as np
import polars as pl
import pytest

from models.data.examples import example_schema
from models.features import FeatureSpec
from models.tasks import DEFAULT_TASKS
from trainer.experiments.data import SETTINGS, Dataset, Score, Sizes, World
from trainer.experiments.simulated import SimulatedSource
from trainer.experiments.stores import StoreSource
from trainer.simulation.funnel import FunnelShape
from trainer.simulation.simulator import Simulator

SPEC = FeatureSpec.load("openrtb")
SIZES = Sizes(train=600, small=200, unlabelled=100, valid=100, test=400)


def by_first_id(_part: Dataset) -> Score:
    return lambda ids_NC: ids_NC[:, 0].astype(np.float64)


def world(setting: str, source: SimulatedSource | StoreSource) -> World:
    return source.world(setting, 1, SIZES, by_first_id, 0.8)


@pytest.fixture(scope="module")
def simulated() -> SimulatedSource:
    return SimulatedSource(SPEC)


def test_settings_differ_in_what_they_say(simulated: SimulatedSource) -> None:
    """Drift changes the truth of the same test requests; small and selected change training."""
    base, drift, selected, small = (world(setting, simulated) for setting in SETTINGS)
    assert (base.test.ids_NC == drift.test.ids_NC).all()
    assert base.test.p_true_NT is not None
    assert drift.test.p_true_NT is not None
    both = np.corrcoef(base.test.p_true_NT[:, 0], drift.test.p_true_NT[:, 0])[0, 1]
    assert 0.5 < both < 0.97
    assert (base.train.ids_NC == drift.train.ids_NC).all()
    assert len(small.train) == 200
    assert (small.test.ids_NC == base.test.ids_NC).all()
    assert len(selected.train) == pytest.approx(600, abs=2)
    assert selected.train.ids_NC[:, 0].mean() > base.train.ids_NC[:, 0].mean()


def test_funnels_shape_sets_rates_and_what_tasks_share() -> None:
    """More shared effects correlate the tasks' truth; the rates are those asked for."""
    rates = (0.3, 0.5, 0.05, 0.02)
    loose, tight = (
        Simulator(1, shape=FunnelShape(rates, shared)).batch(0, 8192).p_true
        for shared in (0.0, 0.9)
    )
    assert loose.mean(axis=0)[[0, 2, 3]] == pytest.approx(np.array(rates)[[0, 2, 3]], rel=0.25)
    assert tight.mean(axis=0)[[0, 2, 3]] == pytest.approx(np.array(rates)[[0, 2, 3]], rel=0.25)
    assert np.corrcoef(tight[:, 0], tight[:, 3])[0, 1] > np.corrcoef(loose[:, 0], loose[:, 3])[0, 1]


def store(path: Path, *, truth: bool, rows: int = 800) -> None:
    """Examples whose features say their row, with or without what is true and what is poor."""
    rng = np.random.default_rng(0)
    features = np.tile(
        [feature.offset for feature in SPEC.features for _ in range(feature.slots)], (rows, 1)
    )
    frame = {
        "request_id": [f"r{n}" for n in range(rows)],
        "ts": np.arange(rows),
        "spec": [SPEC.hash] * rows,
        "features": features.tolist(),
        **{f"label_{name}": rng.integers(0, 2, rows) for name in DEFAULT_TASKS.names},
        "model": "",
        "reason": "score",
        "e": None,
        "threshold": None,
        "propensity": 1.0,
    }
    if truth:
        frame |= {f"p_true_{name}": rng.random(rows) for name in DEFAULT_TASKS.names}
    made = pl.DataFrame(frame, schema=example_schema(DEFAULT_TASKS, p_true=truth))
    if truth:
        made = made.with_columns(data_poor=pl.col("ts") % 4 == 0)
    made.write_parquet(path)


def test_a_store_from_elsewhere_brings_its_truth(tmp_path: Path) -> None:
    """Columns p_true_<task> and data_poor are used where they are there, and made up nowhere."""
    store(tmp_path / "known.parquet", truth=True)
    store(tmp_path / "plain.parquet", truth=False)
    known = world("base", StoreSource.read(tmp_path / "known.parquet", SPEC, DEFAULT_TASKS))
    plain = world("base", StoreSource.read(tmp_path / "plain.parquet", SPEC, DEFAULT_TASKS))
    assert known.test.p_true_NT is not None
    assert 0.15 < known.test.poor_N.mean() < 0.35
    assert plain.test.p_true_NT is None
    assert plain.test.poor_N.mean() == pytest.approx(0.1, abs=0.01)


def test_groups_stay_on_one_side_and_drift_tests_the_newest() -> None:
    """No user has both training and test rows; by time, every test row is newer."""
    rows, users = 900, np.arange(900) % 90
    marks_NC = np.arange(rows, dtype=np.int32)[:, None]
    part = Dataset(marks_NC, np.zeros((rows, 4), np.float32), None, np.zeros(rows, np.bool_))
    layout = SimulatedSource(SPEC).layout
    grouped = StoreSource(
        "users", DEFAULT_TASKS, layout, part, marks_NC[:0], users, knows_poor=True
    )
    split = world("base", grouped)
    sides = [set(users[each.ids_NC[:, 0]]) for each in (split.train, split.valid, split.test)]
    assert len(sides[0] | sides[1] | sides[2]) == sum(map(len, sides))
    alone = StoreSource("rows", DEFAULT_TASKS, layout, part, marks_NC[:0], knows_poor=True)
    later = world("drift", alone)
    assert later.test.ids_NC.min() > later.train.ids_NC.max()
